# SPDX-License-Identifier: Apache-2.0
"""P-Net's image pyramid."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.imaging.image_pyramid import ImagePyramid
from mask_detector_ros.mtcnn.pnet_pyramid import (
    MAX_TILE_COLUMNS,
    MAX_TILE_ROWS,
    STRIDE,
    TILE_PIXELS,
    WINDOW,
    lay_out,
    pyramid_shapes,
)

sides = st.integers(1, 3000)
min_sizes = st.integers(12, 500)
factors = st.floats(0.3, 0.95)


def test_an_image_of_exactly_the_smallest_face_has_one_level():
    for size in range(12, 2001):
        assert pyramid_shapes(size, size, size, 0.709) == ((WINDOW, WINDOW),)


@given(sides, sides, min_sizes, factors)
def test_levels_fall_by_the_factor_and_all_hold_a_window(height, width, min_face_size, factor):
    shapes = pyramid_shapes(height, width, min_face_size, factor)
    for (h, w), (next_h, next_w) in itertools.pairwise(shapes):
        assert next_h == pytest.approx(h * factor, abs=2)
        assert next_w == pytest.approx(w * factor, abs=2)
    assert all(min(shape) >= WINDOW for shape in shapes)


@given(sides, sides, min_sizes, factors)
def test_at_the_first_level_the_smallest_face_fills_the_window(
    height, width, min_face_size, factor
):
    shapes = pyramid_shapes(height, width, min_face_size, factor)
    if min(height, width) < min_face_size:
        assert shapes == ()
    else:
        scale = WINDOW / min_face_size
        assert shapes[0] == pytest.approx((height * scale, width * scale), abs=1)


@given(sides, sides, min_sizes, factors)
def test_the_last_level_is_the_smallest_that_holds_a_window(height, width, min_face_size, factor):
    shapes = pyramid_shapes(height, width, min_face_size, factor)
    if shapes:
        assert min(shapes[-1]) * factor < WINDOW + 1


def test_the_levels_of_a_vga_frame_are_known():
    shapes = pyramid_shapes(480, 640, 40, 0.5)
    assert shapes == ((144, 192), (72, 96), (36, 48), (18, 24))


def levels_of(image, shapes):
    """The levels cut from their packed pyramid, and their scales."""
    for packing in lay_out(shapes):
        pixels, scales = packing.draw(ImagePyramid(image))
        for (x, y), (height, width), scale in zip(
            packing.corners, packing.shapes, scales, strict=True
        ):
            yield pixels[y : y + height, x : x + width], scale


@given(sides, sides, st.integers(20, 500), st.floats(0.3, 0.9))
def test_levels_lie_beside_each_other_on_even_pixels(height, width, min_face_size, factor):
    shapes = pyramid_shapes(height, width, min_face_size, factor)
    packed = lay_out(shapes)
    assert sum((packing.shapes for packing in packed), ()) == shapes
    for packing in packed:
        assert packing.height % 2 == packing.width % 2 == 0
        taken = np.zeros((packing.height, packing.width), bool)
        for (x, y), (rows, columns) in zip(packing.corners, packing.shapes, strict=True):
            assert x % 2 == y % 2 == 0
            place = taken[y : y + rows, x : x + columns]
            assert place.shape == (rows, columns)
            assert not place.any()
            place[:] = True


def test_little_of_a_canvas_is_empty():
    for height, width in itertools.product((240, 480, 720, 1080), (320, 640, 1280, 1920)):
        shapes = pyramid_shapes(height, width, 20, 0.709)
        used = sum(rows * columns for rows, columns in shapes)
        whole = sum(packing.height * packing.width for packing in lay_out(shapes))
        assert used > 0.85 * whole


@given(st.integers(12, 200), st.integers(12, 200), st.integers(0, 255))
def test_a_plain_image_stays_plain_at_every_level(height, width, value):
    image = np.full((height, width, 3), value, np.uint8)
    shapes = pyramid_shapes(height, width, 12, 0.6)
    levels = [level for level, _ in levels_of(image, shapes)]
    assert tuple(level.shape[:2] for level in levels) == shapes
    assert all((level == value).all() for level in levels)


@given(sides, sides, st.integers(20, 500))
def test_a_level_shows_the_image_and_less_than_a_pixel_more(height, width, min_face_size):
    image = np.zeros((height, width, 3), np.uint8)
    shapes = pyramid_shapes(height, width, min_face_size, 0.709)
    for level, scale in levels_of(image, shapes):
        shown = scale * level.shape[1::-1]
        assert (shown >= np.subtract((width, height), 1e-2)).all()
        assert (shown < np.add((width, height), scale + 1)).all()


def test_every_level_is_as_bright_as_the_image(astronaut):
    mean = astronaut.mean(axis=(0, 1))
    for level, _ in levels_of(astronaut, pyramid_shapes(512, 512, 20, 0.709)):
        np.testing.assert_allclose(level.mean(axis=(0, 1)), mean, atol=1.5)


def test_every_level_is_close_to_averaging_over_areas(astronaut):
    for level, _ in levels_of(astronaut, pyramid_shapes(512, 512, 20, 0.709)):
        height, width = level.shape[:2]
        averaged = cv2.resize(astronaut, (width, height), interpolation=cv2.INTER_AREA)
        assert np.abs(level.astype(int) - averaged).mean() < 4


@given(sides, sides, st.integers(20, 500))
def test_a_window_belongs_to_the_level_that_holds_it_whole(height, width, min_face_size):
    for packing in lay_out(pyramid_shapes(height, width, min_face_size, 0.709)):
        y, x = STRIDE * np.indices(packing.levels.shape)
        expected = np.full(packing.levels.shape, -1)
        for number, ((left, top), (rows, columns)) in enumerate(
            zip(packing.corners, packing.shapes, strict=True)
        ):
            across = (left <= x) & (x + WINDOW <= left + columns)
            expected[across & (top <= y) & (y + WINDOW <= top + rows)] = number
        np.testing.assert_array_equal(packing.levels, expected)


@given(sides, sides, st.integers(12, 500), st.integers(1, 8))
def test_bands_show_every_window_once(height, width, min_face_size, threads):
    for packing in lay_out(pyramid_shapes(height, width, min_face_size, 0.709), threads):
        rows, tops = packing.tiles
        assert rows % 2 == 0
        assert WINDOW <= rows <= MAX_TILE_ROWS
        first_rows = [y for top in tops for y in range(top, top + rows - WINDOW + 1, STRIDE)]
        assert first_rows == list(range(0, STRIDE * len(packing.levels), STRIDE))
        assert len(packing.levels) >= (packing.height - WINDOW) // STRIDE + 1


@given(st.integers(12, 400), st.integers(12, 60_000), st.integers(1, 4))
def test_tiles_of_the_widest_image_are_small(height, width, threads):
    for packing in lay_out(pyramid_shapes(height, width, 12, 0.709), threads):
        (rows, _), (columns, lefts) = packing.tiles, packing.columns
        assert columns <= max(MAX_TILE_COLUMNS, WINDOW)
        assert rows * columns <= 1.1 * TILE_PIXELS
        firsts = [x for left in lefts for x in range(left, left + columns - WINDOW + 1, STRIDE)]
        assert firsts == list(range(0, STRIDE * packing.levels.shape[1], STRIDE))
        assert packing.levels.shape[1] >= (packing.width - WINDOW) // STRIDE + 1


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("height", [480, 720, 1080])
def test_every_lane_has_several_bands_that_overlap_little(height, threads):
    packed = lay_out(pyramid_shapes(height, height * 4 // 3, 20, 0.709), threads)
    assert sum(len(packing.tiles[1]) for packing in packed) >= 2 * threads
    shown = sum(packing.tiles[0] * len(packing.tiles[1]) * packing.width for packing in packed)
    assert shown < 1.25 * sum(packing.height * packing.width for packing in packed)


@given(st.lists(st.integers(12, 60), max_size=30))
def test_what_is_pasted_lies_where_the_canvas_says(sides):
    sides.sort(reverse=True)
    images = [np.full((side, side, 3), 1 + i, np.uint8) for i, side in enumerate(sides)]
    for packing in lay_out(tuple((side, side) for side in sides)):
        pixels = packing.paste(images)
        levels = packing.levels
        assert (pixels[::2, ::2][: len(levels), : levels.shape[1]][levels >= 0] > 0).all()
        for value, (x, y), side in zip(itertools.count(1), packing.corners, sides, strict=False):
            assert (pixels[y : y + side, x : x + side] == value).all()
