# SPDX-License-Identifier: Apache-2.0
"""Stage one of the two-stage cascade: scaling, decoding and the bound on its candidates."""

import cv2
import numpy as np
import pytest

from mask_detector_ros.imaging.image_pyramid import ImagePyramid
from mask_detector_ros.mtcnn.two_stage_proposals import (
    MAX_CANDIDATES,
    Letterbox,
    decode_cells,
    letterboxes,
)


@pytest.mark.parametrize(
    ("min_face_size", "rows", "columns"),
    [
        pytest.param(20, 384, 512, id="the default scales by 16 / 20"),
        pytest.param(40, 192, 256, id="faces twice as large cost a quarter"),
        pytest.param(12, 640, 853, id="smaller faces enlarge the frame"),
    ],
)
def test_the_frame_is_scaled_so_that_the_smallest_face_has_the_trained_size(
    min_face_size, rows, columns
):
    first = next(letterboxes(480, 640, min_face_size, smallest_face=16, largest_face=1000))
    assert (first.rows, first.columns) == (rows, columns)
    assert all(side % 32 == 0 for side in first.input_shape)


def test_a_large_frame_has_coarse_passes_for_faces_that_the_first_cannot_see():
    passes = list(letterboxes(2160, 3840, 20, smallest_face=16, largest_face=400))
    assert [(p.rows, p.columns) for p in passes] == [(1728, 3072), (432, 768), (108, 192)]


def test_a_frame_smaller_than_the_smallest_face_has_no_pass():
    assert list(letterboxes(19, 640, 20, smallest_face=16, largest_face=400)) == []


def test_a_pass_shows_the_frame_at_the_top_left_and_black_beside_it():
    frame = np.full((100, 150, 3), 200, np.uint8)
    canvas = Letterbox(100, 150, 50, 75).draw(ImagePyramid(frame))
    assert canvas.shape == (1, 64, 96, 3)
    assert (canvas[0, :50, :75] == 200).all()
    assert not canvas[0, 50:].any()
    assert not canvas[0, :, 75:].any()


def test_a_frame_that_fits_is_passed_on_without_a_copy():
    frame = np.zeros((96, 128, 3), np.uint8)
    assert np.shares_memory(Letterbox(96, 128, 96, 128).draw(ImagePyramid(frame)), frame)


def test_a_frame_much_larger_than_the_input_is_averaged_not_sampled():
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 200
    drawn = Letterbox(800, 800, 160, 160).draw(ImagePyramid(stripes))
    np.testing.assert_allclose(drawn, 100, atol=1)


def test_boxes_return_to_the_frame_by_the_scale_of_each_side():
    letterbox = Letterbox(100, 333, 50, 167)
    whole = letterbox.to_frame(np.array([[0, 0, 167, 50]], np.float32))
    np.testing.assert_allclose(whole, [[0, 0, 333, 100]], rtol=1e-6)


def network_output(stride, rows, columns, lit):
    """Output of stage one in which only the cells of `lit` (row, column: score, move) have
    scores."""
    scores, boxes = np.zeros((1, rows * columns), np.float32), np.zeros((1, rows * columns, 4))
    for (row, column), (score, move) in lit.items():
        scores[0, row * columns + column] = score
        boxes[0, row * columns + column] = move
    return {f"scores_{stride}": scores, f"boxes_{stride}": boxes.astype(np.float32)}


def test_a_cell_is_decoded_from_its_corner_in_strides():
    out = network_output(8, 4, 6, {(2, 5): (0.9, (0.5, 0.25, np.log(4), np.log(3)))})
    out |= network_output(16, 2, 3, {(1, 0): (0.7, (0, 0, 0, 0)), (0, 0): (0.1, (0, 0, 0, 0))})
    boxes, scores = decode_cells(out, (8, 16), 48, threshold=0.5)
    np.testing.assert_allclose(scores, [0.9, 0.7])
    np.testing.assert_allclose(
        boxes, [[44 - 16, 18 - 12, 44 + 16, 18 + 12], [-8, 8, 8, 24]], atol=1e-5
    )


def test_no_frame_gives_more_candidates_than_the_bound_and_the_best_stay():
    scores = np.random.default_rng(0).permutation(np.linspace(0.5, 1, 2 * MAX_CANDIDATES))
    out = {"scores_8": scores[None], "boxes_8": np.zeros((1, 2 * MAX_CANDIDATES, 4), np.float32)}
    boxes, kept = decode_cells(out, (8,), 64, threshold=0.0)
    assert boxes.shape == (MAX_CANDIDATES, 4)
    assert kept.min() >= np.sort(scores)[MAX_CANDIDATES]


def test_the_image_is_scaled_as_opencv_scales_it():
    image = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    drawn = Letterbox(90, 120, 72, 96).draw(ImagePyramid(image))
    np.testing.assert_array_equal(drawn[0, :72, :96], cv2.resize(image, (96, 72)))
