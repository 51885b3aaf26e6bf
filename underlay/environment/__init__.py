# SPDX-License-Identifier: Apache-2.0
"""The steps of `make setup`, with nothing but the standard library."""
