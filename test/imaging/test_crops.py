# SPDX-License-Identifier: Apache-2.0
"""Square crops of boxes."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.imaging.crops import MIN_VISIBLE_FRACTION, crop_squares, square_slices
from mask_detector_ros.imaging.image_pyramid import level_for

IMAGE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(1, 256, (180, 240, 3), np.uint8), (0, 0), 2.0
)


def crop_by_definition(square, size):
    """The documented rule in plain code: pad the whole image, slice, average over areas."""
    pad = 400
    padded = cv2.copyMakeBorder(IMAGE, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    left, top, right, bottom = square + pad
    interpolation = cv2.INTER_AREA if right - left > size else cv2.INTER_LINEAR
    return cv2.resize(padded[top:bottom, left:right], (size, size), interpolation=interpolation)


some_boxes = {
    "x": st.integers(-5, 230),
    "y": st.integers(-5, 170),
    "width": st.integers(10, 150),
    "height": st.integers(10, 150),
    "size": st.sampled_from([12, 24, 48]),
    "margin": st.sampled_from([0.0, 0.25]),
}


@given(**some_boxes)
def test_a_crop_is_the_padded_square_scaled_to_size(x, y, width, height, size, margin):
    box = np.array([[x, y, x + width, y + height]], np.float32)
    square = square_slices(box, margin, size)[0]
    inside = np.clip(square, 0, [240, 180, 240, 180])
    shown = np.prod(inside[2:] - inside[:2]) / (square[2] - square[0]) ** 2
    crop = crop_squares(IMAGE, box, size, margin)[0]
    if shown < MIN_VISIBLE_FRACTION:
        assert not crop.any()
    else:
        # The image is smooth: what is left is how pixels are averaged. At the image's edge, a
        # pixel of the crop may be in part black.
        rows = away_from_edge(square[1], square[3], size, 180)
        columns = away_from_edge(square[0], square[2], size, 240)
        difference = np.abs(crop - crop_by_definition(square, size).astype(int))
        difference = difference[rows][:, columns]
        assert np.median(difference.ravel().tolist() or [0]) <= 3
        assert difference.sum() <= 5 * difference.size


def away_from_edge(start, end, size, length):
    """(size,) whether a row of the crop shows only the image, or none of it."""
    edges = np.linspace(start, end, size + 1)
    around = max((end - start) / size, 1)
    low, high = edges[:-1] - around, edges[1:] + around
    return ((low >= 0) & (high <= length)) | (high <= 0) | (low >= length)


@given(**some_boxes)
def test_a_square_lies_about_the_box_to_a_pixel_of_the_crop(x, y, width, height, size, margin):
    box = np.array([[x, y, x + width, y + height]], np.float32)
    left, top, right, bottom = square_slices(box, margin, size)[0]
    side = max(width, height) * (1 + 2 * margin)
    assert right - left == bottom - top
    assert (1 - 1 / size) * side - 1 <= right - left <= side + 0.5
    pixel = max((right - left) / size, 1)
    centre = np.divide([left + right, top + bottom], 2)
    np.testing.assert_allclose(centre, [x + width / 2, y + height / 2], atol=pixel / 2 + 0.5)


@given(**some_boxes)
def test_the_square_of_a_square_is_itself(x, y, width, height, size, margin):
    squares = square_slices(np.array([[x, y, x + width, y + height]], np.float32), margin, size)
    again = square_slices(squares.astype(np.float32), 0.0, size)
    np.testing.assert_array_equal(again, squares)


def test_a_crop_larger_than_its_square_is_only_interpolated():
    box = np.array([[20, 30, 60, 70]], np.float32)
    wanted = cv2.resize(IMAGE[30:70, 20:60], (48, 48), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(crop_squares(IMAGE, box, 48, 0.0)[0], wanted)


@pytest.mark.parametrize("side", [13, 30, 47, 100, 179])
def test_a_large_square_keeps_its_mean_light(side):
    noise = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    crop = crop_squares(noise, np.array([[0, 0, side, side]], np.float32), 12, 0.0)[0]
    assert abs(crop.mean() - noise.mean()) < 4
    # Averaged, not picked: of noise of deviation 74 little is left, and least of large squares.
    assert crop.std() < 2 * 74 * 12 / side + 2


@given(st.lists(st.floats(width=32), min_size=4, max_size=4))
def test_any_four_numbers_give_a_crop_and_no_error(corners):
    crops = crop_squares(IMAGE, np.array([corners], np.float32), 24, 0.25)
    assert crops.shape == (1, 24, 24, 3)


def test_no_boxes_give_no_crops():
    crops = crop_squares(IMAGE, np.empty((0, 4), np.float32), 24, 0.0)
    assert crops.shape == (0, 24, 24, 3)
    assert crops.dtype == np.uint8


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([10, 10, 10, 10], id="no width and no height"),
        pytest.param([10, 10, 30, 10], id="no height"),
        pytest.param([30, 30, 10, 10], id="corners swapped"),
        pytest.param([10.0, 10.0, 10.3, 10.3], id="less than half a pixel"),
        pytest.param([np.nan, 10, 30, 30], id="not a number"),
        pytest.param([-np.inf, 10, np.inf, 30], id="infinite"),
        pytest.param([250, 10, 280, 40], id="outside the image"),
        pytest.param([-5000, -5000, 5000, 5000], id="far larger than the image"),
    ],
)
def test_a_box_that_shows_nothing_gives_a_black_crop(box):
    assert not crop_squares(IMAGE, np.array([box], np.float32), 24, 0.0).any()


def test_a_square_of_the_target_size_is_copied_pixel_by_pixel():
    crop = crop_squares(IMAGE, np.array([[20, 10, 44, 34]], np.float32), 24, 0.0)[0]
    np.testing.assert_array_equal(crop, IMAGE[10:34, 20:44])


def test_a_box_across_the_border_keeps_its_place_and_is_black_outside():
    crop = crop_squares(IMAGE, np.array([[-12, 0, 12, 24]], np.float32), 24, 0.0)[0]
    assert not crop[:, :12].any()
    np.testing.assert_array_equal(crop[:, 12:], IMAGE[:24, :12])


def test_the_margin_is_added_on_each_side_of_the_longer_side():
    squares = square_slices(np.array([[20, 20, 40, 30]], np.float32), 0.25, 48)
    np.testing.assert_array_equal(squares, [[15, 10, 45, 40]])


def test_each_box_gets_its_own_crop_in_order():
    boxes = np.array([[0, 0, 24, 24], [5, 5, 5, 5], [30, 30, 54, 54]], np.float32)
    together = crop_squares(IMAGE, boxes, 24, 0.0)
    alone = np.concatenate([crop_squares(IMAGE, box[None], 24, 0.0) for box in boxes])
    np.testing.assert_array_equal(together, alone)


def test_the_image_is_left_as_it_was():
    image = IMAGE.copy()
    crop_squares(image, np.array([[-10, -10, 30, 30]], np.float32), 24, 0.25)
    np.testing.assert_array_equal(image, IMAGE)


def test_the_example_of_the_docstring_holds():
    square = square_slices(np.float32([[100, 80, 140, 140]]), margin=0.2, size=24)
    assert square.tolist() == [[78, 68, 162, 152]]
    assert level_for([84], 24).tolist() == [1]
