# SPDX-License-Identifier: Apache-2.0
"""Scale whole images."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray


def letterbox(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale an image into (width, height): keep its aspect ratio, pad with black."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    scale = min(size[0] / width, size[1] / height)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    x, y = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    canvas[y : y + inner[1], x : x + inner[0]] = cv2.resize(
        image, inner, interpolation=interpolation
    )
    return canvas


def reduce_image(image: NDArray[np.uint8], megapixels: float) -> NDArray[np.uint8]:
    """Scale an image down to a number of megapixels, keeping its aspect ratio; 0 keeps its size."""
    height, width = image.shape[:2]
    scale = math.sqrt(megapixels * 1e6 / (width * height))
    if not megapixels or scale >= 1:
        return image
    size = (max(int(width * scale), 1), max(int(height * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
