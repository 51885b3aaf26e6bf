# SPDX-License-Identifier: Apache-2.0
"""Small image files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

RED = (0, 0, 255)


def picture(color: tuple[int, ...] = RED, height: int = 12, width: int = 16) -> np.ndarray:
    """An image of one color, BGR."""
    return np.full((height, width, 3), color, np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    """Write an image through memory, since cv2.imwrite cannot open every Unicode path."""
    encoded, data = cv2.imencode(path.suffix, image)
    assert encoded
    data.tofile(path)
    return path


def write_text(path: Path) -> Path:
    """Write a file that is neither image nor video, whatever its name."""
    path.write_text("These are not moving pictures.\n" * 400)
    return path


def with_pillow(path: Path, **options) -> None:
    """A red image, written by Pillow in the format of the suffix."""
    image_module = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install pillow")
    if path.suffix == ".heic":
        heif = pytest.importorskip("pillow_heif", reason="needs: pip install pillow-heif")
        heif.register_heif_opener()
    image_module.new("RGB", (64, 48), (255, 0, 0)).save(path, **options)
