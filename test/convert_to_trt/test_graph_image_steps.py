# SPDX-License-Identifier: Apache-2.0
"""The cascade's ONNX nodes for images compute the same as the library's functions."""

import cv2
import numpy as np
import pytest
from graph_runs import SCALED, assert_similar, random_boxes, run

from convert_to_trt import graph_image_steps as images
from convert_to_trt.graph_builder import GraphBuilder
from mask_detector_ros.imaging.crops import crop_squares, square_slices
from mask_detector_ros.imaging.image_pyramid import ImagePyramid, level_for
from mask_detector_ros.mtcnn.pnet_pyramid import lay_out, pyramid_shapes


def levels_of(g, height, width, smallest):
    return images.with_smaller(g, [images.base_level(g, "image", height, width)], smallest)


@pytest.mark.parametrize(("height", "width"), [(384, 512), (383, 511), (64, 33)])
def test_levels_are_those_of_the_library(astronaut, height, width):
    image = np.ascontiguousarray(astronaut[:height, :width])
    g = GraphBuilder()
    levels = levels_of(g, height, width, 24)
    outputs = {str(n): (v.value, (v.height, v.width, 3)) for n, v in enumerate(levels)}
    found = run(g, {"image": image}, outputs)
    assert min(levels[-1].height, levels[-1].width) < 24
    for number, level in enumerate(found.values()):
        assert_similar(level, ImagePyramid(image)[number])


@pytest.mark.parametrize(("size", "wanted"), SCALED)
def test_an_image_is_scaled_as_the_library_does(astronaut, size, wanted):
    image = cv2.resize(astronaut, size[::-1])
    g = GraphBuilder()
    scaled = images.resize(g, images.base_level(g, "image", *size), *wanted)
    found = run(g, {"image": image}, {"scaled": (scaled.value, (*wanted, 3))})
    assert_similar(found["scaled"], cv2.resize(image, wanted[::-1]))


def test_pyramid_levels_differ_by_rounding_only(astronaut):
    image = np.ascontiguousarray(astronaut[:384, :512])
    g = GraphBuilder()
    levels = levels_of(g, 384, 512, 12)
    shapes = pyramid_shapes(384, 512, 20, 0.709)
    outputs = {}
    for number, (height, width) in enumerate(shapes):
        level = images.pyramid_level(g, levels[level_for(384, 2 * height)], height, width)
        outputs[str(number)] = (level, (1, 3, height, width))
    found = run(g, {"image": image}, outputs)
    expected = []
    for layout in lay_out(shapes):
        pixels, _ = layout.draw(ImagePyramid(image))
        for (x, y), (height, width) in zip(layout.corners, layout.shapes, strict=True):
            expected.append(pixels[y : y + height, x : x + width])
    for number, level in enumerate(expected):
        assert_similar(found[str(number)][0].transpose(1, 2, 0), level)


@pytest.mark.parametrize("side", [24, 48, 96])
@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_squares_are_the_same_whole_pixels(margin, side):
    boxes = random_boxes(np.random.default_rng(0), 300, 640, 480)
    g = GraphBuilder()
    squares = images.squares(g, "boxes", margin, side, 6)
    found = run(g, {"boxes": boxes}, {"squares": (squares, (300, 4))})["squares"]
    # Halves are rounded from float32 here, from float64 there.
    assert (found == square_slices(boxes, margin, side)).all(axis=1).mean() > 0.99


@pytest.mark.parametrize("side", [24, 48])
def test_crops_differ_by_rounding_only(astronaut, side):
    image = np.ascontiguousarray(astronaut[:383, :511])
    boxes = square_slices(random_boxes(np.random.default_rng(1), 100, 512, 384), 0.0, side)
    squares = boxes.astype(np.float32)
    g = GraphBuilder()
    stacked = images.stack(g, levels_of(g, 383, 511, 12))
    crops = images.crops(g, stacked, "squares", side)
    found = run(g, {"image": image, "squares": squares}, {"crops": (crops, (100, side, side, 3))})
    expected = crop_squares(image, squares, side, 0.0)
    assert_similar(found["crops"], expected)
    # Black where the square shows too little of itself, and only there.
    black = expected.max(axis=(1, 2, 3)) == 0
    assert ((found["crops"].max(axis=(1, 2, 3)) == 0) == black).all()


def test_large_crops_of_an_image_without_levels_are_cut_from_it(astronaut):
    image = np.ascontiguousarray(astronaut[:20, :300])
    squares = np.float32([[-20, -100, 200, 120], [0, 0, 24, 24]])
    g = GraphBuilder()
    stacked = images.stack(g, levels_of(g, 20, 300, 24))
    crops = images.crops(g, stacked, "squares", 24)
    found = run(g, {"image": image, "squares": squares}, {"crops": (crops, (2, 24, 24, 3))})
    assert_similar(found["crops"][1:], crop_squares(image, squares[1:], 24, 0.0))
