# SPDX-License-Identifier: Apache-2.0
"""Pixels and boxes: geometry, crops, the image pyramid, encodings and drawing; no networks."""
