# SPDX-License-Identifier: Apache-2.0
"""The cascade's ONNX nodes for boxes compute the same as the library's functions."""

import numpy as np
import pytest
from graph_runs import random_boxes, run
from hypothesis import given, settings
from hypothesis import strategies as st

from convert_to_trt import graph_box_steps as parts
from convert_to_trt.graph_builder import GraphBuilder
from mask_detector_ros.imaging.boxes import (
    bbox_regression,
    merge_boxes,
    non_max_suppression,
    suppress_contained,
)


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
    ranks = parts.ranks(g, count)
    kept = parts.suppress(g, "boxes", "scores", ranks, threshold, of_smaller)
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
    kept = parts.suppress(g, "boxes", "scores", parts.ranks(g, 40), threshold)
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
