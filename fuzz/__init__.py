# SPDX-License-Identifier: Apache-2.0
"""Fuzz everything that parses external input."""
