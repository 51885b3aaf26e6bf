# SPDX-License-Identifier: Apache-2.0
"""The steps for a CPU compute the same as the library's functions, for any number of boxes."""

import cv2
import numpy as np
import pytest
from graph_runs import SCALED, assert_similar, random_boxes, run

from convert_to_trt import graph_free_steps as lists
from convert_to_trt.graph_builder import GraphBuilder
from mask_detector_ros.imaging.boxes import non_max_suppression
from mask_detector_ros.imaging.crops import crop_squares, square_slices
from mask_detector_ros.imaging.image_pyramid import ImagePyramid


@pytest.mark.parametrize("count", [0, 1, 60])
def test_boxes_are_selected_suppressed_and_filled_up(count):
    chance = np.random.default_rng(count)
    boxes = random_boxes(chance, count, 300, 200)
    scores = chance.uniform(size=count).astype(np.float32)
    g = GraphBuilder()
    some, rows = lists.select(g, "scores", 0.5, "boxes")
    kept = lists.suppress(g, rows, some, 0.4)
    best = lists.fill(g, g.add("Gather", rows, lists.first(g, kept, 8), axis=0), 8)
    outputs = {"best": (best, (8, 4)), "excess": (lists.excess(g, kept, 8), (1,))}
    found = run(g, {"scores": scores, "boxes": boxes}, outputs)
    reached = scores >= 0.5
    wanted = boxes[reached][non_max_suppression(boxes[reached], scores[reached], 0.4)]
    assert found["excess"] == max(len(wanted) - 8, 0)
    np.testing.assert_array_equal(found["best"][: len(wanted)], wanted[:8])
    assert not found["best"][len(wanted) :].any()


@pytest.mark.parametrize(
    ("size", "wanted", "power"),
    [*((*case, 0) for case in SCALED[:2]), ((480, 640), (192, 256), 1), ((96, 80), (24, 20), 2)],
)
def test_an_image_is_scaled_in_strips(astronaut, size, wanted, power):
    image = cv2.resize(astronaut, size[::-1])
    g = GraphBuilder()
    scaled = lists.resize(g, "image", size, *wanted, power)
    found = run(g, {"image": image}, {"scaled": (g.reshape(scaled, *wanted, 3), (*wanted, 3))})
    assert_similar(found["scaled"], cv2.resize(ImagePyramid(image)[power], wanted[::-1]))


@pytest.mark.parametrize(("size", "wanted"), SCALED[2:])
def test_other_factors_are_left_to_an_operation(size, wanted):
    assert lists.resize(GraphBuilder(), "image", size, *wanted, 0) is None


@pytest.mark.parametrize("side", [24, 48])
def test_crops_are_those_of_the_library(astronaut, side):
    image = np.ascontiguousarray(astronaut[:384, :512])
    boxes = square_slices(random_boxes(np.random.default_rng(1), 100, 512, 384), 0.0, side)
    # One has no area, one lies outside.
    squares = np.concatenate([boxes, [[5, 5, 5, 5], [-90, -90, -10, -10]]]).astype(np.float32)
    g = GraphBuilder()
    crops = lists.crops(g, "image", (384, 512), "squares", side, 4)
    outputs = {"crops": (crops, (len(squares), side, side, 3))}
    found = run(g, {"image": image, "squares": squares}, outputs)["crops"]
    assert_similar(found, crop_squares(image, squares, side, 0.0))
    assert found[-2:].max() == 0
