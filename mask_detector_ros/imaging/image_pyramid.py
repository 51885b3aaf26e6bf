"""An image at its own size (level 0) and halved again and again (Williams, "Pyramidal Parametrics",
1983).

Whatever is shrunk here is read from the smallest level that is still large enough: then one
bilinear step of less than two pixels misses none of them.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.uint8]


class ImagePyramid:
    """The levels of a (H, W, 3) uint8 image, each made when it is first asked for.

    A level averages blocks of 2x2 pixels; where a side is odd, its last pixel counts twice. So
    a pixel of level k shows exactly 2**k by 2**k pixels of the image.

    Several threads may ask at a time.
    """

    def __init__(self, image: Image) -> None:
        self._levels = [image]
        self._making = threading.Lock()

    @classmethod
    def of(cls, image: Image | ImagePyramid) -> ImagePyramid:
        """The pyramid of an image; a pyramid as it is."""
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
    """The highest pyramid level at which each length in pixels is still no smaller than wanted."""
    _, exponents = np.frexp(np.maximum(np.floor_divide(sizes, wanted), 1))
    return np.asarray(exponents, np.int64) - 1
