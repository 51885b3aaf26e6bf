"""The image pyramid: the same image at falling sizes, so that one window finds faces of all."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.mtcnn.boxes import FloatArray

WINDOW = 12
"""Side in pixels of the window that P-Net looks through."""


def pyramid_shapes(
    height: int, width: int, min_face_size: int, factor: float
) -> list[tuple[int, int]]:
    """(height, width) of each level, largest first.

    At the first level a face of `min_face_size` pixels fills P-Net's window; every level is
    `factor` times the one before; the last is the smallest that still holds a window. An
    image smaller than `min_face_size` has no level.
    """
    shapes = []
    shrink = 1.0
    while min(height, width) * shrink >= min_face_size:
        # Divided last, so that whole numbers stay whole.
        level_height = math.ceil(height * shrink * WINDOW / min_face_size)
        level_width = math.ceil(width * shrink * WINDOW / min_face_size)
        shapes.append((level_height, level_width))
        shrink *= factor
    return shapes


def image_pyramid(
    image: NDArray[np.uint8], shapes: list[tuple[int, int]]
) -> Iterator[NDArray[np.uint8]]:
    """Resize an image to each of the shapes, which must fall.

    Each level is sampled at twice its size and averaged over 2x2 pixels: nearly as free of
    aliasing as averaging over areas, at a quarter of its cost (4 against 17 ms for 640x480
    and a minimum face of 20). The source is halved on the way, so that sampling never skips
    pixels.
    """
    source = image
    for height, width in shapes:
        while source.shape[0] >= 4 * height and source.shape[1] >= 4 * width:
            half = (source.shape[1] // 2, source.shape[0] // 2)
            source = cv2.resize(source, half, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        double = cv2.resize(source, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        yield cv2.resize(double, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[misc]


def to_network_input(images: NDArray[np.uint8]) -> FloatArray:
    """(N, H, W, 3) uint8 images as the networks take them: (N, 3, H, W) float32."""
    batch, height, width, channels = images.shape
    planes = np.empty((batch, channels, height, width), np.float32)
    for channel in range(channels):
        planes[:, channel] = images[..., channel]
    return planes
