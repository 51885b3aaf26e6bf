# SPDX-License-Identifier: Apache-2.0
"""The steps of `make setup`, using only the standard library."""
