# SPDX-License-Identifier: Apache-2.0
"""P-Net's output maps become proposals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mask_detector_ros.imaging.boxes import intersection_over_union, non_max_suppression
from mask_detector_ros.mtcnn import pnet_pyramid
from mask_detector_ros.mtcnn.pnet_proposals import (
    NEIGHBOURS_OVERLAP,
    proposals_in_tile,
    suppress_neighbours,
)
from mask_detector_ros.mtcnn.pnet_pyramid import STRIDE, WINDOW, PackedPyramid


def test_a_window_lies_where_its_level_says_in_source_pixels(monkeypatch):
    scales = np.float32([[2, 3], [10, 20]])
    scores = np.zeros((15, 25), np.float32)
    # Whole in the first level, whole in the second, across both, in none.
    scores[1, 2], scores[5, 12], scores[4, 6], scores[14, 20] = 0.9, 0.8, 0.7, 0.6
    offsets = np.arange(4 * 15 * 25, dtype=np.float32).reshape(4, 15, 25)
    for most_rows in (256, 32):
        monkeypatch.setattr(pnet_pyramid, "MAX_TILE_ROWS", most_rows)
        packing = PackedPyramid(40, 60, np.array([[0, 0], [20, 8]]), ((20, 20), (14, 16)))
        rows, tops = packing.tiles
        assert len(tops) == (1 if most_rows == 256 else 2)
        count = (rows - WINDOW) // STRIDE + 1
        # Rows of the last tile that reach beyond the packing show nothing.
        padded = [np.pad(m, [(0, 0)] * (m.ndim - 2) + [(0, 25), (0, 0)]) for m in (scores, offsets)]
        tiles = []
        for top in tops:
            maps = [m[..., top // STRIDE : top // STRIDE + count, :] for m in padded]
            found, dropped = proposals_in_tile(packing, scales, top, 0, *maps, 0.5, 10)
            assert dropped == 0
            tiles.append(found)
        # Two pixels a cell, twelve pixels a window, from the level's corner on, then scaled.
        for name, expected in {
            "boxes": [[8, 6, 32, 42], [40, 40, 160, 280]],
            "scores": np.float32([0.9, 0.8]),
            "offsets": [offsets[:, 1, 2], offsets[:, 5, 12]],
            "levels": [0, 1],
            "rows": [1, 5],
            "columns": [2, 12],
        }.items():
            found = np.concatenate([getattr(tile, name) for tile in tiles])
            np.testing.assert_array_equal(found, expected)


def test_of_too_many_proposals_the_best_stay():
    packing = PackedPyramid(40, 40, np.array([[0, 0]]), ((40, 40),))
    scores = np.random.default_rng(0).permutation(np.linspace(0, 1, 15 * 15)).astype(np.float32)
    scores = scores.reshape(15, 15)
    maps = scores, np.zeros((4, 15, 15), np.float32)
    found, dropped = proposals_in_tile(packing, np.float32([[1, 1]]), 0, 0, *maps, 0.5, 20)
    above = (scores >= 0.5).sum()
    assert (len(found.scores), dropped) == (20, above - 20)
    assert found.scores.min() == np.sort(scores, axis=None)[-20]
    np.testing.assert_array_equal(scores[found.rows, found.columns], found.scores)


@pytest.mark.parametrize("left", [0, 12])
def test_tiles_side_by_side_give_the_places_of_the_whole(left):
    packing = PackedPyramid(40, 60, np.array([[0, 0]]), ((40, 60),))
    scores = np.random.default_rng(0).random((15, 25), np.float32)
    offsets = np.random.default_rng(1).random((4, 15, 25), np.float32)
    scales = np.float32([[2, 3]])
    whole, _ = proposals_in_tile(packing, scales, 0, 0, scores, offsets, 0.5, 1000)
    part = [m[..., left // STRIDE : left // STRIDE + 15] for m in (scores, offsets)]
    found, _ = proposals_in_tile(packing, scales, 0, left, *part, 0.5, 1000)
    inside = (whole.columns >= left // STRIDE) & (whole.columns < left // STRIDE + 15)
    for name in ("boxes", "scores", "offsets", "levels", "rows", "columns"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[inside])


grids = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 6)
)


@given(grids)
def test_suppression_of_neighbours_is_greedy(grid):
    y, x = np.nonzero(grid)
    scores = grid[y, x]
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(max(abs(y[i] - y[j]), abs(x[i] - x[j])) > 1 for j in kept):
            kept.append(i)
    assert suppress_neighbours(np.zeros_like(y), y, x, scores).tolist() == sorted(kept)


@given(grids, st.floats(0.5, 40), st.floats(0.5, 40))
def test_it_is_suppression_by_overlap_of_windows_of_one_level(grid, across, down):
    y, x = np.nonzero(grid)
    # Scores that all differ, for of equal ones either may stay.
    scores = (grid[y, x] + np.linspace(0, 0.5, len(y))).astype(np.float32) / 8
    corners = STRIDE * np.stack([x, y], axis=1)
    windows = np.hstack([corners, corners + WINDOW]) * np.tile([across, down], 2)
    expected = non_max_suppression(windows.astype(np.float32), scores, NEIGHBOURS_OVERLAP)
    assert suppress_neighbours(np.zeros_like(y), y, x, scores).tolist() == sorted(expected.tolist())


def test_neighbours_overlap_by_more_than_others():
    y, x = np.mgrid[-3:4, -3:4].reshape(2, -1)
    corners = np.float32(STRIDE * np.stack([x, y], axis=1))
    windows = np.hstack([corners, corners + WINDOW])
    overlaps = intersection_over_union(windows, np.float32([[0, 0, WINDOW, WINDOW]]))[:, 0]
    are_neighbours = np.maximum(np.abs(x), np.abs(y)) <= 1
    np.testing.assert_array_equal(overlaps > NEIGHBOURS_OVERLAP, are_neighbours)
    assert overlaps[~are_neighbours].max() == 0.5


def test_none_leave_none():
    none = np.empty(0, np.int64)
    assert suppress_neighbours(none, none, none, np.empty(0, np.float32)).shape == (0,)


def test_cells_of_two_levels_or_at_the_ends_of_two_rows_are_no_neighbours():
    levels, rows, columns = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 9], [0, 2, 0]]).T
    scores = np.float32([0.9, 0.8, 0.7, 0.6])
    assert suppress_neighbours(levels, rows, columns, scores).tolist() == [0, 1, 2, 3]
