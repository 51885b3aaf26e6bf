# SPDX-License-Identifier: Apache-2.0
"""The cascade's steps as static graphs do what the functions of the library do."""

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from convert_to_trt import cascade_parts as parts
from convert_to_trt.graph_builder import GraphBuilder
from mask_detector_ros.imaging.boxes import (
    bbox_regression,
    merge_boxes,
    non_max_suppression,
    suppress_contained,
)
from mask_detector_ros.imaging.crops import crop_squares, square_slices
from mask_detector_ros.imaging.image_pyramid import ImagePyramid, level_for
from mask_detector_ros.mtcnn.pyramid import lay_out, pyramid_shapes


def run(g, feeds, outputs):
    """Run a graph on named arrays; outputs is the values by name with their shapes."""
    kinds = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.float32): TensorProto.FLOAT}
    inputs = {name: (kinds[array.dtype], array.shape) for name, array in feeds.items()}
    model = g.finish(inputs, outputs, 17, 8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(list(outputs), feeds), strict=True))


def random_boxes(chance, count, width, height):
    centres = chance.uniform(-20, [width + 20, height + 20], (count, 2))
    sides = np.exp(chance.uniform(np.log(8), np.log(height), (count, 2)))
    return np.hstack([centres - sides / 2, centres + sides / 2]).astype(np.float32)


@pytest.fixture(scope="module")
def halves_of():
    def halves(g, height, width):
        pixels = g.add("Transpose", g.add("Cast", "image", to=1), perm=[2, 0, 1])
        levels = [(g.reshape(pixels, 1, 3, height, width), height, width)]
        while min(levels[-1][1:]) >= 12:
            value, h, w = levels[-1]
            levels.append((parts.halve(g, value, h, w), -(-h // 2), -(-w // 2)))
        return levels

    return halves


def test_pyramid_levels_differ_by_rounding_only(astronaut, halves_of):
    image = np.ascontiguousarray(astronaut[:384, :512])
    g = GraphBuilder()
    levels = halves_of(g, 384, 512)
    shapes = pyramid_shapes(384, 512, 20, 0.709)
    outputs = {}
    for number, (height, width) in enumerate(shapes):
        source, *_ = levels[level_for(384, 2 * height)]
        level = parts.pyramid_level(g, source, height, width)
        outputs[str(number)] = (level, (1, 3, height, width))
    found = run(g, {"image": image}, outputs)
    expected = []
    for layout in lay_out(shapes):
        pixels, _ = layout.draw(ImagePyramid(image))
        for (x, y), (height, width) in zip(layout.corners, layout.shapes, strict=True):
            expected.append(pixels[y : y + height, x : x + width])
    for number, level in enumerate(expected):
        assert np.abs(found[str(number)][0].transpose(1, 2, 0) - level).max() <= 1


@pytest.mark.parametrize("side", [24, 48, 96])
@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_squares_are_the_same_whole_pixels(margin, side):
    boxes = random_boxes(np.random.default_rng(0), 300, 640, 480)
    g = GraphBuilder()
    squares = parts.squares(g, "boxes", margin, side, 6)
    found = run(g, {"boxes": boxes}, {"squares": (squares, (300, 4))})["squares"]
    # Halves are rounded from float32 here, from float64 there.
    assert (found == square_slices(boxes, margin, side)).all(axis=1).mean() > 0.99


@pytest.mark.parametrize("side", [24, 48])
def test_crops_differ_by_rounding_only(astronaut, halves_of, side):
    image = np.ascontiguousarray(astronaut[:383, :511])
    boxes = square_slices(random_boxes(np.random.default_rng(1), 100, 512, 384), 0.0, side)
    squares = boxes.astype(np.float32)
    g = GraphBuilder()
    packed = parts.pack_levels(g, halves_of(g, 383, 511))
    crops = parts.crops(g, packed, "squares", 100, side)
    found = run(g, {"image": image, "squares": squares}, {"crops": (crops, (100, 3, side, side))})
    expected = crop_squares(image, squares, side, 0.0)
    assert np.abs(found["crops"].transpose(0, 2, 3, 1) - expected).max() <= 1
    # Black where the square shows too little of itself, and only there.
    black = expected.max(axis=(1, 2, 3)) == 0
    assert ((found["crops"].max(axis=(1, 2, 3)) == 0) == black).all()


def test_regression_is_the_same():
    chance = np.random.default_rng(2)
    boxes = random_boxes(chance, 50, 640, 480)
    offsets = chance.normal(0, 0.2, (50, 4)).astype(np.float32)
    g = GraphBuilder()
    moved = parts.regress(g, "boxes", "offsets")
    found = run(g, {"boxes": boxes, "offsets": offsets}, {"moved": (moved, (50, 4))})
    np.testing.assert_allclose(found["moved"], bbox_regression(boxes, offsets), atol=1e-3)


@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.3, 0.5, 0.7]))
@settings(max_examples=20)
@pytest.mark.parametrize("of_smaller", [False, True])
def test_suppression_by_rounds_is_greedy_suppression(seed, threshold, of_smaller):
    count, chance = 60, np.random.default_rng(seed)
    centres = chance.uniform(0, 80, (count, 2))
    sides = chance.uniform(10, 60, (count, 2))
    boxes = np.hstack([centres - sides / 2, centres + sides / 2]).astype(np.float32)
    scores = np.sort(chance.uniform(0.1, 1, count).astype(np.float32))[::-1].copy()
    scores[50:] = 0  # empty slots
    g = GraphBuilder()
    kept = parts.suppress(g, "boxes", "scores", count, threshold, of_smaller)
    found = run(g, {"boxes": boxes, "scores": scores}, {"kept": (kept, (count,))})["kept"]
    greedy = suppress_contained if of_smaller else non_max_suppression
    expected = greedy(boxes[:50], scores[:50], threshold)
    assert set(np.flatnonzero(found)) == set(expected.tolist())
    np.testing.assert_array_equal(found[expected], scores[expected])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.4, 0.6]))
def test_merged_boxes_are_those_of_the_library(seed, threshold):
    chance = np.random.default_rng(seed)
    boxes = random_boxes(chance, 40, 120, 90)
    scores = np.sort(chance.uniform(0.1, 1, 40).astype(np.float32))[::-1].copy()
    g = GraphBuilder()
    merged = parts.merge(g, "boxes", "scores", 40, threshold)
    kept = parts.suppress(g, "boxes", "scores", 40, threshold)
    found = run(
        g, {"boxes": boxes, "scores": scores}, {"merged": (merged, (40, 4)), "kept": (kept, (40,))}
    )
    ours = found["merged"][found["kept"] > 0]
    np.testing.assert_allclose(ours, merge_boxes(boxes, scores, threshold), atol=1e-3)


def test_the_best_slots_are_sorted_and_counted():
    scores = np.float32([0.1, 0.0, 0.9, 0.5, 0.0])
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    g = GraphBuilder()
    top, (chosen,) = parts.best(g, parts.reach(g, "scores", 0.2), 3, "rows")
    outputs = {"top": (top, (3,)), "rows_out": (chosen, (3, 2))}
    outputs["count"] = (parts.count(g, "scores"), (1,))
    found = run(g, {"scores": scores, "rows": rows}, outputs)
    np.testing.assert_allclose(found["top"], [0.9, 0.5, 0.0])
    np.testing.assert_array_equal(found["rows_out"][:2], rows[[2, 3]])
    assert found["count"] == [3]
