"""Pixels and boxes: geometry, crops, the image pyramid, encodings and drawing; no networks."""
