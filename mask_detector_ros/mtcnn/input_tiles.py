# SPDX-License-Identifier: Apache-2.0
"""Split a large input of the proposal network into tiles: its feature maps take 80 bytes per input
pixel, 500 MB for a frame of 3840x2160.

    +-------------+----+
    |   tile 0    |    |      The parts overlap by more than the largest face that the network
    |        +----+--- | -+   finds, so that each face lies in one whole. Each part gives the
    |        |    |    |  |   proposals whose centres are in its own middle; those within
    +--------+----+----+  |   `SHARED` of its border come from both, and suppression keeps one.
             |     tile 1 |
             +------------+
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mask_detector_ros.imaging.boxes import FloatArray, IndexArray

MULTIPLE = 32
"""The sides and corners of a tile are multiples of the network's largest stride."""

MAX_TILE_PIXELS, MAX_TILE_SIDE = 3 << 19, 2048
"""A frame of 1920x1080 is not cut with the usual `min_face_size` of 20."""

SHARED = 16
"""Maximum distance in input pixels between the centres that two tiles give to one face."""


@dataclass(frozen=True)
class Tile:
    """A tile of the proposal network's input, in input pixels.

    Attributes:
        top, left, bottom, right: the part that the network processes.
        own: xmin, ymin, xmax, ymax of the area in which its proposals have their centres.
    """

    top: int
    left: int
    bottom: int
    right: int
    own: tuple[float, float, float, float]

    def to_input(self, boxes: FloatArray) -> tuple[FloatArray, IndexArray]:
        """Move the boxes of a tile to the whole input: those out of (N, 4) in tile pixels whose
        centres lie in its own area, in input pixels, and their indices."""
        if np.isinf(self.own).all():
            # The only tile of its input.
            return boxes, np.arange(len(boxes))
        boxes = boxes + np.array([self.left, self.top] * 2, np.float32)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        own = np.array(self.own)
        kept = np.flatnonzero(((centres >= own[:2]) & (centres < own[2:])).all(axis=1))
        return boxes[kept], kept


def input_tiles(height: int, width: int, largest_face: float) -> list[Tile]:
    """Divide an input of this size into tiles; one tile where it is small.

    Args:
        height, width: size of the input, multiples of `MULTIPLE`.
        largest_face: largest face that the network finds, in input pixels.
    """
    overlap = -(-int(largest_face) // MULTIPLE) * MULTIPLE + 2 * MULTIPLE
    columns = _cut(width, min(MAX_TILE_SIDE, width), overlap)
    widest = max(stop - start for start, stop, _, _ in columns)
    most = min(max(MAX_TILE_PIXELS // widest, 2 * overlap), MAX_TILE_SIDE)
    rows = _cut(height, most, overlap)
    return [
        Tile(top, left, bottom, right, (own_left, own_top, own_right, own_bottom))
        for top, bottom, own_top, own_bottom in rows
        for left, right, own_left, own_right in columns
    ]


def _cut(length: int, most: int, overlap: int) -> list[tuple[int, int, float, float]]:
    """Start and stop of each part of a side, and the range of centres that belong to it."""
    if length <= most:
        return [(0, length, -np.inf, np.inf)]
    most = most // MULTIPLE * MULTIPLE
    count = -(-(length - overlap) // (most - overlap))
    last = (length - most) // MULTIPLE
    starts = [number * last // (count - 1) * MULTIPLE for number in range(count)]
    borders = [(start + before + most) / 2 for before, start in pairwise(starts)]
    lows = [-np.inf, *(border - SHARED for border in borders)]
    highs = [*(border + SHARED for border in borders), np.inf]
    return [(s, s + most, lo, hi) for s, lo, hi in zip(starts, lows, highs, strict=True)]
