# SPDX-License-Identifier: Apache-2.0
"""Tiles of large inputs of the proposal network."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.mtcnn.input_tiles import (
    MAX_TILE_PIXELS,
    MAX_TILE_SIDE,
    MULTIPLE,
    SHARED,
    input_tiles,
)

sides = st.integers(1, 400).map(lambda count: count * MULTIPLE)


@given(sides, sides, st.sampled_from([64, 448]))
def test_tiles_are_small_lie_inside_and_hold_each_face_whole(height, width, largest):
    tiles = input_tiles(height, width, largest)
    for tile in tiles:
        assert 0 <= tile.top < tile.bottom <= height
        assert 0 <= tile.left < tile.right <= width
        tall, wide = tile.bottom - tile.top, tile.right - tile.left
        assert (
            tall % MULTIPLE == wide % MULTIPLE == tile.top % MULTIPLE == tile.left % MULTIPLE == 0
        )
        assert max(tall, wide) <= MAX_TILE_SIDE
        assert tall * wide <= max(MAX_TILE_PIXELS, 2 * (largest + 3 * MULTIPLE) * MAX_TILE_SIDE)
    chance = np.random.default_rng(0)
    for _ in range(10):
        x, y = chance.uniform(0, width), chance.uniform(0, height)
        box = np.float32([[x, y, x, y]])
        owners = [t for t in tiles if len(t.to_input(box - [t.left, t.top] * 2)[0])]
        assert owners
        # The tile shows the largest face about this point, as far as the input does.
        for tile in owners:
            half = largest / 2
            assert tile.left <= max(x - half, 0)
            assert tile.top <= max(y - half, 0)
            assert tile.right >= min(x + half, width)
            assert tile.bottom >= min(y + half, height)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (896, 1536)])
def test_a_usual_frame_is_one_tile(height, width):
    (tile,) = input_tiles(height, width, 448)
    assert (tile.top, tile.left, tile.bottom, tile.right) == (0, 0, height, width)
    boxes = np.float32([[-5, -5, 20, 20], [width, height, width + 9, height + 9]])
    found, kept = tile.to_input(boxes)
    np.testing.assert_array_equal(found, boxes)
    assert kept.tolist() == [0, 1]


def test_what_lies_on_a_border_comes_from_both_tiles():
    tiles = input_tiles(480, 4096, 448)
    border = (tiles[0].own[2] + tiles[1].own[0]) / 2
    assert tiles[0].own[2] - tiles[1].own[0] == 2 * SHARED
    box = np.float32([[border - 5, 100, border + 5, 110]])
    owners = [t for t in tiles if len(t.to_input(box - [t.left, t.top] * 2)[0])]
    assert owners == tiles[:2]
