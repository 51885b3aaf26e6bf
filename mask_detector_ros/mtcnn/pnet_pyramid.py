# SPDX-License-Identifier: Apache-2.0
"""P-Net's image pyramid: the image at decreasing sizes, so that one window size finds all faces."""

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
from mask_detector_ros.imaging.image_pyramid import Image, ImagePyramid, level_for

WINDOW = 12
"""Side of P-Net's receptive field, in pixels."""

STRIDE = 2
"""Stride of P-Net's windows in pixels, from its only pooling layer."""

ALONE_PIXELS = 1 << 15
"""Levels of this many pixels are not packed: packing leaves gaps and saves them nothing."""

TILE_PIXELS, MAX_TILE_ROWS = 1 << 17, 256
"""P-Net processes large packed pyramids in tiles: intermediate results then stay in a core's
cache, and memory does not grow with the image. Also the row limit of the engines."""

MAX_TILE_COLUMNS = 2560
"""Wider levels are split into tiles side by side; otherwise an image of 1000000x20 would be one
tile of 650 MB. Also the column limit of the engines."""

CACHED_PIXELS = 1 << 22
"""Layouts of larger pyramids are not cached: a cached layout takes a byte per two pixels.
Recomputing it costs a few percent of the frame."""

MIN_SHARED_TILE_PIXELS, TILES_PER_THREAD = 1 << 15, 4
"""With several threads, tiles shrink until each thread has about this many, so that all finish
at about the same time. Smaller tiles overlap too much."""

_WIDTHS_TRIED = 4

Shapes = tuple[tuple[int, int], ...]


def pyramid_shapes(height: int, width: int, min_face_size: int, factor: float) -> Shapes:
    """Return (height, width) of each level of P-Net's pyramid, largest first.

    In the first level a face of `min_face_size` pixels fills P-Net's window. Each level is
    `factor` times the previous one; the last is the smallest that still holds a window. An
    image smaller than `min_face_size` has no levels.
    """
    shapes = []
    shrink = 1.0
    while min(height, width) * shrink >= min_face_size:
        # Divide last, so that whole numbers stay whole.
        level_height = math.ceil(height * shrink * WINDOW / min_face_size)
        level_width = math.ceil(width * shrink * WINDOW / min_face_size)
        shapes.append((level_height, level_width))
        shrink *= factor
    return tuple(shapes)


@dataclass(frozen=True)
class PackedPyramid:
    """A packed pyramid: the layout of P-Net's pyramid levels in one image, which P-Net processes in
    one call.

    A call has an overhead of 50 to 300 microseconds, as much as several small levels.

    Attributes:
        height, width: size of the packed image, even.
        corners: (L, 2) x and y of each level's top left pixel, even.
        shapes: (height, width) of each level.
        tile_pixels: approximate number of pixels per tile.
    """

    height: int
    width: int
    corners: NDArray[np.int64]
    shapes: Shapes
    tile_pixels: int = TILE_PIXELS

    @cached_property
    def tiles(self) -> tuple[int, tuple[int, ...]]:
        """Number of rows per tile of the packed pyramid, and each tile's first row; together they
        cover each window once.

        The last tile may extend beyond the packed image.
        """
        most = max(self.tile_pixels // self.columns[0], 2 * WINDOW)
        return _cover(self.height, min(most, MAX_TILE_ROWS))

    @cached_property
    def columns(self) -> tuple[int, tuple[int, ...]]:
        """Number of columns per tile of the packed pyramid, and each tile's first column; a single
        tile up to a width of `MAX_TILE_COLUMNS`."""
        if self.width <= MAX_TILE_COLUMNS:
            return self.width, (0,)
        return _cover(self.width, MAX_TILE_COLUMNS)

    @cached_property
    def levels(self) -> NDArray[np.int16]:
        """(h, w) index of the pyramid level that contains each P-Net window entirely; -1 for
        none."""
        shape = [(side - WINDOW) // STRIDE + 1 for side in self._drawn_shape]
        levels = np.full(shape, -1, np.int16)
        for number, ((left, top), (height, width)) in enumerate(
            zip((self.corners // STRIDE).tolist(), self.shapes, strict=True)
        ):
            down, across = ((side - WINDOW) // STRIDE + 1 for side in (height, width))
            levels[top : top + down, left : left + across] = number
        return levels

    def draw(self, image: ImagePyramid) -> tuple[Image, FloatArray]:
        """Scale an image to each level of P-Net's pyramid and pack the levels.

        Each level is sampled at twice its size and averaged over 2x2 pixels: nearly as alias-free
        as area averaging, at a quarter of the cost.

        Returns:
            (H, width, 3) uint8 packed image, as high as all tiles, black between levels; (L, 2)
            image pixels per level pixel, in x and y.
        """
        packing = self._blank()
        shapes = np.array(self.shapes)
        powers = level_for(len(image[0]), 2 * shapes[:, 0])
        shown = []
        for (left, top), (height, width), power in zip(
            self.corners.tolist(), self.shapes, powers.tolist(), strict=True
        ):
            source = image[power]
            double = cv2.resize(source, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
            level = packing[top : top + height, left : left + width]
            cv2.resize(double, (width, height), level, interpolation=cv2.INTER_AREA)
            shown.append([source.shape[1] << power, len(source) << power])
        return packing, (np.array(shown) / shapes[:, ::-1]).astype(np.float32)

    def paste(self, images: Iterable[Image]) -> Image:
        """Pack one given image per pyramid level: the (H, width, 3) uint8 packed pyramid."""
        packing = self._blank()
        for (left, top), (height, width), image in zip(
            self.corners.tolist(), self.shapes, images, strict=True
        ):
            packing[top : top + height, left : left + width] = image
        return packing

    @property
    def _drawn_shape(self) -> tuple[int, int]:
        """(height, width) of the packed image, including the overhang of the last tiles."""
        (rows, tops), (columns, lefts) = self.tiles, self.columns
        return tops[-1] + rows, lefts[-1] + columns

    def _blank(self) -> Image:
        return np.zeros((*self._drawn_shape, 3), np.uint8)


def lay_out(shapes: Shapes, threads: int = 1) -> tuple[PackedPyramid, ...]:
    """Lay out pyramid levels of these shapes, given largest first, in packed images; each large
    level gets its own.

    Args:
        threads: number of threads that share the tiles.
    """
    pixels = sum(height * width for height, width in shapes)
    return (_lay_out if pixels <= CACHED_PIXELS else _lay_out.__wrapped__)(shapes, threads)


@lru_cache(maxsize=16)
def _lay_out(shapes: Shapes, threads: int) -> tuple[PackedPyramid, ...]:
    large = sum(height * width >= ALONE_PIXELS for height, width in shapes)
    alone = [_fill((shape,), shape[1] + shape[1] % 2) for shape in shapes[:large]]
    rest = shapes[large:]
    if rest:
        widths = accumulate(width + width % 2 for _, width in rest[:_WIDTHS_TRIED])
        alone.append(min((_fill(rest, w) for w in widths), key=_pixels))
    tile_pixels = TILE_PIXELS
    if threads > 1:
        share = sum(map(_pixels, alone)) // (threads * TILES_PER_THREAD)
        tile_pixels = min(max(share, MIN_SHARED_TILE_PIXELS), TILE_PIXELS)
    return tuple(replace(packing, tile_pixels=tile_pixels) for packing in alone)


def _pixels(packing: PackedPyramid) -> int:
    return packing.height * packing.width


def _cover(length: int, most: int) -> tuple[int, tuple[int, ...]]:
    """Return the size of the parts that a side is split into, and where each begins: as few parts
    as possible, of one even size, overlapping so that each P-Net window lies in exactly one."""
    overlap = WINDOW - STRIDE
    count = -(-(length - overlap) // (most - overlap))
    step = -(-(length - overlap) // count)
    step += step % STRIDE
    return step + overlap, tuple(range(0, length - overlap, step))


def _fill(shapes: Shapes, width: int) -> PackedPyramid:
    """Place each level as high up as possible."""
    skyline = np.zeros(width, np.int64)
    corners = []
    for rows, columns in shapes:
        tops = sliding_window_view(skyline, columns).max(axis=1)[::2]
        place = int(tops.argmin())
        left, top = 2 * place, int(tops[place])
        corners.append((left, top))
        skyline[left : left + columns] = top + rows + rows % 2
    return PackedPyramid(int(skyline.max()), width, np.array(corners, np.int64), shapes)
