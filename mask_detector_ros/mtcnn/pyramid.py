"""The image pyramid: the same image at falling sizes, so that one window finds faces of all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mask_detector_ros.imaging.boxes import FloatArray
from mask_detector_ros.imaging.image_pyramid import Image, Mipmap, halvings_between

WINDOW = 12
"""Side in pixels of the window that P-Net looks through."""

STRIDE = 2
"""Pixels between two windows of P-Net, from its one pooling layer."""

ALONE_PIXELS = 1 << 15
"""A level with so many pixels gains nothing from sharing a canvas, which has gaps."""

BAND_PIXELS, MAX_BAND_ROWS = 1 << 17, 256
"""P-Net sees large canvases in bands: what lies between two layers then stays in a core's cache,
and a large image takes no more memory. No engine takes more rows."""

LANE_BAND_PIXELS, BANDS_OF_A_LANE = 1 << 15, 4
"""Where several threads share them, bands are smaller, so that each has about so many and all end
at about the same time. Smaller ones overlap too much."""

_WIDTHS_TRIED = 4

Shapes = tuple[tuple[int, int], ...]


def pyramid_shapes(height: int, width: int, min_face_size: int, factor: float) -> Shapes:
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
    return tuple(shapes)


@dataclass(frozen=True)
class Canvas:
    """Where some levels of a pyramid lie on one image, which a network sees in one go.

    A call costs a library 50 to 300 microseconds, as much as several small levels.

    Attributes:
        height, width: of the canvas, even.
        corners: (L, 2) x and y of the top left pixel of each level, even.
        shapes: (height, width) of each level.
        band_pixels: of its bands, about.
    """

    height: int
    width: int
    corners: NDArray[np.int64]
    shapes: Shapes
    band_pixels: int = BAND_PIXELS

    @cached_property
    def bands(self) -> tuple[int, tuple[int, ...]]:
        """Rows of each band, and the first row of each: together they show every window once.

        The last may reach beyond the canvas.
        """
        overlap = WINDOW - STRIDE
        rows = min(max(self.band_pixels // self.width, 2 * WINDOW), MAX_BAND_ROWS) - overlap
        # Of one height, which is even.
        rows = -(-(self.height - overlap) // -(-(self.height - overlap) // rows))
        rows += rows % STRIDE
        return rows + overlap, tuple(range(0, self.height - overlap, rows))

    @cached_property
    def levels(self) -> NDArray[np.int16]:
        """(h, w) the level in which each of P-Net's windows lies whole; -1 for none."""
        rows, tops = self.bands
        shape = [(side - WINDOW) // STRIDE + 1 for side in (tops[-1] + rows, self.width)]
        levels = np.full(shape, -1, np.int16)
        for number, ((left, top), (height, width)) in enumerate(
            zip((self.corners // STRIDE).tolist(), self.shapes, strict=True)
        ):
            down, across = ((side - WINDOW) // STRIDE + 1 for side in (height, width))
            levels[top : top + down, left : left + across] = number
        return levels

    def draw(self, image: Mipmap) -> tuple[Image, FloatArray]:
        """An image at each of the shapes.

        Each level is sampled at twice its size and averaged over 2x2 pixels: nearly as free of
        aliasing as averaging over areas, at a quarter of its cost.

        Returns:
            (H, width, 3) uint8 canvas, as high as all bands, black between levels; (L, 2) pixels
            of the image for one of each level, in x and y.
        """
        canvas = self._blank()
        shapes = np.array(self.shapes)
        powers = halvings_between(len(image[0]), 2 * shapes[:, 0])
        shown = []
        for (left, top), (height, width), power in zip(
            self.corners.tolist(), self.shapes, powers.tolist(), strict=True
        ):
            source = image[power]
            double = cv2.resize(source, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
            level = canvas[top : top + height, left : left + width]
            cv2.resize(double, (width, height), level, interpolation=cv2.INTER_AREA)
            shown.append([source.shape[1] << power, len(source) << power])
        return canvas, (np.array(shown) / shapes[:, ::-1]).astype(np.float32)

    def paste(self, images: Iterable[Image]) -> Image:
        """The (H, width, 3) uint8 canvas with an image in the place of each level."""
        canvas = self._blank()
        for (left, top), (height, width), image in zip(
            self.corners.tolist(), self.shapes, images, strict=True
        ):
            canvas[top : top + height, left : left + width] = image
        return canvas

    def _blank(self) -> Image:
        rows, tops = self.bands
        return np.zeros((tops[-1] + rows, self.width, 3), np.uint8)


@lru_cache(maxsize=16)
def lay_out(shapes: Shapes, lanes: int = 1) -> tuple[Canvas, ...]:
    """Canvases that hold all levels of these shapes, which fall: the large ones have one each.

    Args:
        lanes: how many threads their bands are for.
    """
    large = sum(height * width >= ALONE_PIXELS for height, width in shapes)
    alone = [_fill((shape,), shape[1] + shape[1] % 2) for shape in shapes[:large]]
    rest = shapes[large:]
    if rest:
        widths = accumulate(width + width % 2 for _, width in rest[:_WIDTHS_TRIED])
        alone.append(min((_fill(rest, w) for w in widths), key=_pixels))
    band_pixels = BAND_PIXELS
    if lanes > 1:
        share = sum(map(_pixels, alone)) // (lanes * BANDS_OF_A_LANE)
        band_pixels = min(max(share, LANE_BAND_PIXELS), BAND_PIXELS)
    return tuple(replace(canvas, band_pixels=band_pixels) for canvas in alone)


def _pixels(canvas: Canvas) -> int:
    return canvas.height * canvas.width


def _fill(shapes: Shapes, width: int) -> Canvas:
    """Put each level as high up as it goes."""
    skyline = np.zeros(width, np.int64)
    corners = []
    for rows, columns in shapes:
        tops = sliding_window_view(skyline, columns).max(axis=1)[::2]
        place = int(tops.argmin())
        left, top = 2 * place, int(tops[place])
        corners.append((left, top))
        skyline[left : left + columns] = top + rows + rows % 2
    return Canvas(int(skyline.max()), width, np.array(corners, np.int64), shapes)
