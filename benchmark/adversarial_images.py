# SPDX-License-Identifier: Apache-2.0
"""Adversarial images, which cost a detector as much time and memory as possible."""

import cv2
import numpy as np
from numpy.typing import NDArray

KINDS = ("noise", "checkerboard", "stripes", "text", "faces", "flat")


def adversarial(kind: str, height: int, width: int, side: int = 7) -> NDArray[np.uint8]:
    """Draw a (height, width, 3) BGR image of one of the adversarial `KINDS`.

    Args:
        kind: its content.
        height, width: its size in pixels.
        side: side of its smallest element in pixels; a face has three times that.
    """
    if kind == "noise":
        return np.random.default_rng(side).integers(0, 256, (height, width, 3), np.uint8)
    if kind == "flat":
        return np.full((height, width, 3), side % 256, np.uint8)
    if kind == "text":
        return _text(height, width, side)
    if kind == "faces":
        face = drawn_face(max(3 * side, 8))
        rows, columns = -(-height // face.shape[0]), -(-width // face.shape[1])
        return np.tile(face, (rows, columns, 1))[:height, :width]
    x = np.arange(width) // side % 2
    y = np.arange(height)[:, None] // side % 2 if kind == "checkerboard" else np.zeros((height, 1))
    values = np.where(x == y, 255, 0).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2)


def drawn_face(side: int) -> NDArray[np.uint8]:
    """Draw a (side, side, 3) face that the first stages accept, for an adversarial image."""
    face = np.zeros((48, 48, 3), np.uint8)
    cv2.ellipse(face, (24, 24), (17, 22), 0, 0, 360, (150, 170, 210), -1)
    for x in (17, 31):
        cv2.circle(face, (x, 20), 2, (30, 30, 30), -1)
    cv2.line(face, (24, 22), (23, 29), (110, 130, 170), 2)
    cv2.line(face, (18, 35), (30, 35), (60, 60, 120), 2)
    return np.asarray(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _text(height: int, width: int, side: int) -> NDArray[np.uint8]:
    image = np.full((height, width, 3), 255, np.uint8)
    scale, step = max(side, 4) / 10, 3 * max(side, 4)
    for row in range(step, height + step, step):
        line = "oO0@8&%B" * (width // (8 * max(side, 4)) + 1)
        cv2.putText(image, line, (2, row), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 2)
    return image
