"""What P-Net says of a packing, as windows of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mask_detector_ros.imaging.boxes import FloatArray, IndexArray
from mask_detector_ros.mtcnn.pyramid import STRIDE, WINDOW, PackedPyramid

NEIGHBOURS_OVERLAP = 0.51
"""Neighbours are the pairs of a level's windows whose intersection over union is above this: theirs
is 0.71, or 0.53 across a corner; that of the next nearest is 0.5, as in the paper's code."""

ROW_STRIDE, MAP_STRIDE = 1 << 20, 1 << 40
"""Numbers that a row of P-Net's map takes, and a map, so that rows and maps do not touch."""


@dataclass(frozen=True, eq=False)
class Proposals:
    """Proposals that P-Net takes for faces.

    Attributes:
        boxes: (N, 4) in source pixels.
        scores: (N,) from 0 to 1.
        offsets: (N, 4) for `bbox_regression`.
        levels: (N,) number of the level on its packing.
        cells: (N,) rising: row in P-Net's map times `ROW_STRIDE`, plus column.
    """

    boxes: FloatArray
    scores: FloatArray
    offsets: FloatArray
    levels: IndexArray
    cells: IndexArray


def proposals_in_tile(
    packing: PackedPyramid,
    scales: FloatArray,
    top: int,
    scores: FloatArray,
    offsets: FloatArray,
    threshold: float,
) -> Proposals:
    """The windows of a tile that P-Net takes for faces and that lie in one level whole.

    Args:
        packing: where the levels are.
        scales: (L, 2) source pixels for one of each level, in x and y.
        top: first row of the tile on its packing.
        scores, offsets: (h, w) and (4, h, w), what P-Net says of the tile.
        threshold: the score that a window must reach.
    """
    width = packing.levels.shape[1]
    # Of a large map this takes a third of the time that `nonzero` takes.
    found = np.flatnonzero(scores >= threshold)
    levels = packing.levels[top // STRIDE :].reshape(-1)[found].astype(np.int64)
    inside = levels >= 0
    found, levels = found[inside], levels[inside]
    scores, moves = scores.reshape(-1)[found], offsets.reshape(4, -1)[:, found]
    y, x = np.divmod(found + top // STRIDE * width, width)
    windows = np.empty((len(found), 2, 2), np.float32)
    windows[:, :, 0], windows[:, :, 1] = STRIDE * x[:, None], STRIDE * y[:, None]
    windows -= packing.corners[levels, None]
    windows[:, 1] += WINDOW
    windows *= scales[levels, None]
    return Proposals(windows.reshape(-1, 4), scores, moves.T, levels, y * ROW_STRIDE + x)


def suppress_neighbours(cells: IndexArray, scores: FloatArray) -> IndexArray:
    """Indices of the cells to keep, in order: one goes when a better one beside it, also across
    a corner, stays; of two that are as good the later goes.

    This is non-maximum suppression within a level of the pyramid, where all windows have one size
    and lie on a grid; see `NEIGHBOURS_OVERLAP`.

    Args:
        cells: (N,) rising, as in `Proposals`.
        scores: (N,).
    """
    own = np.arange(len(cells))
    # The later of two neighbours comes next, or is one of three in the row below.
    below = np.searchsorted(cells, cells + ROW_STRIDE - 1)
    later = np.concatenate([own + 1, below, below + 1, below + 2])
    earlier = np.tile(own, 4)
    exists = later < len(cells)
    earlier, later = earlier[exists], later[exists]
    distance = cells[later] - cells[earlier]
    beside = (distance == 1) | (np.abs(distance - ROW_STRIDE) <= 1)
    earlier, later = earlier[beside], later[beside]
    is_later_better = scores[later] > scores[earlier]
    better, worse = np.where(is_later_better, (later, earlier), (earlier, later))
    gone = np.zeros(len(cells), bool)
    while len(worse):
        is_rivalled = np.zeros(len(cells), bool)
        is_rivalled[worse] = True
        gone[worse[~is_rivalled[better]]] = True
        undecided = ~(gone[better] | gone[worse])
        better, worse = better[undecided], worse[undecided]
    return np.flatnonzero(~gone)
