# SPDX-License-Identifier: Apache-2.0
"""P-Net's output maps as proposals: boxes of the frame that may hold a face.

P-Net processes several levels of the image pyramid packed in one image. Each cell of its map
proposes a box of 12 pixels, two pixels from the next. A box counts if one level contains it:

              column
              0 1 2 3 4 5 6 7 8 9
        row 0 0 0 0 0 . . . . 1 1      0, 1  cells of level 0 and of level 1
            1 0 0 0 0 . . . . 1 1      .     boxes across two levels or in none: left out
            2 0 0 0 0 . . . . . .

The cell (row 1, column 9) of level 1 proposes the box from x = 18, y = 2 to x = 30, y = 14 of the
packed pyramid; less the level's corner and times its scale, that is a box of the frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from mask_detector_ros.imaging.boxes import FloatArray, IndexArray, best_scores
from mask_detector_ros.mtcnn.pnet_pyramid import STRIDE, WINDOW, PackedPyramid

NEIGHBOURS_OVERLAP = 0.51
"""Boxes of neighbouring cells have an intersection over union of 0.71, or 0.53 across a corner,
which is above this; those of the next cells have 0.5, as in the paper's code."""


@dataclass(frozen=True, eq=False)
class Proposals:
    """P-Net's proposals, one per cell of its map.

    Attributes:
        boxes: (N, 4) in source pixels.
        scores: (N,) from 0 to 1.
        offsets: (N, 4) for `bbox_regression`.
        levels: (N,) index of the pyramid level.
        rows, columns: (N,) position of the cell in P-Net's map of the packed pyramid.
    """

    boxes: FloatArray
    scores: FloatArray
    offsets: FloatArray
    levels: IndexArray
    rows: IndexArray
    columns: IndexArray


def join_proposals(parts: Sequence[Proposals]) -> Proposals:
    """Concatenate P-Net's proposals from one or more parts."""
    names = [field.name for field in fields(Proposals)]
    return Proposals(*(np.concatenate([getattr(part, n) for part in parts]) for n in names))


def proposals_in_tile(
    packing: PackedPyramid,
    scales: FloatArray,
    top: int,
    left: int,
    scores: FloatArray,
    offsets: FloatArray,
    threshold: float,
    limit: int,
) -> tuple[Proposals, int]:
    """Select P-Net's proposals in a tile that reach the threshold and lie entirely in one level.

    Args:
        scales: (L, 2) source pixels per level pixel, in x and y.
        top, left: first pixel row and column of the tile in the packed pyramid.
        scores, offsets: (h, w) and (4, h, w), P-Net's output for the tile.
        limit: maximum number of proposals, best scores first.

    Returns:
        The proposals, and the number of dropped ones.
    """
    height, width = scores.shape
    down, across = top // STRIDE, left // STRIDE
    inside = packing.levels[down : down + height, across : across + width].reshape(-1)
    scores = scores.reshape(-1)
    # On a large map this takes a third of the time of `nonzero`.
    found = np.flatnonzero(scores >= threshold)
    found = found[inside[found] >= 0]
    count = len(found)
    found = found[best_scores(scores[found], limit)]
    levels = inside[found].astype(np.int64)
    rows, columns = np.divmod(found, width)
    rows, columns = rows + down, columns + across
    boxes = np.empty((len(found), 2, 2), np.float32)
    boxes[:, :, 0], boxes[:, :, 1] = STRIDE * columns[:, None], STRIDE * rows[:, None]
    boxes -= packing.corners[levels, None]
    boxes[:, 1] += WINDOW
    boxes *= scales[levels, None]
    moves = offsets.reshape(4, -1)[:, found].T
    proposals = Proposals(boxes.reshape(-1, 4), scores[found], moves, levels, rows, columns)
    return proposals, count - len(found)


def suppress_neighbours(
    levels: IndexArray, rows: IndexArray, columns: IndexArray, scores: FloatArray
) -> IndexArray:
    """Suppress neighbouring P-Net proposals: ascending indices of those to keep. A proposal is
    suppressed if a better one stays in one of the eight cells around it; of two equal ones, the one
    further down or right is suppressed.

    This is non-maximum suppression within a pyramid level, where all boxes have one size and lie
    on a grid; see `NEIGHBOURS_OVERLAP`.

    Args:
        levels, rows, columns: (N,) as in `Proposals`.
        scores: (N,).
    """
    # One index per cell, by level and row, with gaps so that cells of adjacent rows or levels are
    # never neighbours by index.
    row_stride = int(columns.max(initial=0)) + 3
    level_stride = row_stride * (int(rows.max(initial=0)) + 3)
    cells = levels * level_stride + rows * row_stride + columns
    order = np.argsort(cells, kind="stable")
    cells, scores = cells[order], scores[order]
    own = np.arange(len(cells))
    # The later of two neighbours is the next cell, or one of three in the row below.
    below = np.searchsorted(cells, cells + row_stride - 1)
    later = np.concatenate([own + 1, below, below + 1, below + 2])
    earlier = np.tile(own, 4)
    exists = later < len(cells)
    earlier, later = earlier[exists], later[exists]
    distance = cells[later] - cells[earlier]
    beside = (distance == 1) | (np.abs(distance - row_stride) <= 1)
    earlier, later = earlier[beside], later[beside]
    is_later_better = scores[later] > scores[earlier]
    better, worse = np.where(is_later_better, (later, earlier), (earlier, later))
    gone = np.zeros(len(cells), bool)
    while len(worse):
        has_better_neighbour = np.zeros(len(cells), bool)
        has_better_neighbour[worse] = True
        gone[worse[~has_better_neighbour[better]]] = True
        undecided = ~(gone[better] | gone[worse])
        better, worse = better[undecided], worse[undecided]
    return np.sort(order[~gone])
