# SPDX-License-Identifier: Apache-2.0
"""Random and spoilt input for everything that reads what others wrote."""
