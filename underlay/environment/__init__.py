"""The steps of `make setup`, with nothing but the standard library."""
