# SPDX-License-Identifier: Apache-2.0
"""Image pyramid: level 0 is the image, each further level halves it (Williams, "Pyramidal
Parametrics", 1983).

Downscaling reads from the smallest level that is still large enough. The remaining factor is
below 2, so bilinear sampling skips no pixel.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.uint8]


class ImagePyramid:
    """The levels of a (H, W, 3) uint8 image, each computed on first use.

    Each level averages 2x2 blocks of the level below; on an odd side the last pixel counts twice.
    A pixel of level k therefore covers exactly 2**k by 2**k image pixels.

    Thread-safe.
    """

    def __init__(self, image: Image) -> None:
        self._levels = [image]
        self._making = threading.Lock()

    @classmethod
    def of(cls, image: Image | ImagePyramid) -> ImagePyramid:
        """Make the image pyramid of an image; a pyramid is returned unchanged."""
        return image if isinstance(image, ImagePyramid) else cls(image)

    def __getitem__(self, level: int) -> Image:
        if len(self._levels) <= level:
            with self._making:
                while len(self._levels) <= level:
                    self._levels.append(_halve(self._levels[-1]))
        return self._levels[level]


def _halve(image: Image) -> Image:
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = cv2.copyMakeBorder(  # type: ignore[assignment]
            image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE
        )
    half = ((width + 1) // 2, (height + 1) // 2)
    return cv2.resize(image, half, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def level_for(sizes: ArrayLike, wanted: ArrayLike) -> NDArray[np.int64]:
    """The highest image pyramid level at which each length (pixels) is no smaller than required."""
    _, exponents = np.frexp(np.maximum(np.floor_divide(sizes, wanted), 1))
    return np.asarray(exponents, np.int64) - 1
