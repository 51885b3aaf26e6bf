# SPDX-License-Identifier: Apache-2.0
"""Geometry of boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.imaging.boxes import (
    bbox_regression,
    box_area,
    intersection,
    intersection_over_union,
    merge_boxes,
    non_max_suppression,
    suppress_contained,
)


@st.composite
def scored_boxes(draw):
    """Boxes with integer corners, so that overlaps are exact, and with distinct scores."""
    count = draw(st.integers(0, 25))
    number = st.integers(0, 30)
    corner = np.array(draw(st.lists(st.tuples(number, number), min_size=count, max_size=count)))
    side = st.integers(1, 20)
    sides = np.array(draw(st.lists(st.tuples(side, side), min_size=count, max_size=count)))
    corner, sides = corner.reshape(-1, 2), sides.reshape(-1, 2)
    order = draw(st.permutations(range(count)))
    scores = (np.array(order, np.float32) + 1) / (count + 1)
    return np.hstack([corner, corner + sides]).astype(np.float32), scores.reshape(-1)


thresholds = st.sampled_from([0.2, 0.3, 0.45, 0.7])


@given(scored_boxes(), scored_boxes())
def test_intersection_over_union_is_symmetric_and_a_share(first, second):
    a, b = first[0], second[0]
    overlaps = intersection_over_union(a, b)
    assert overlaps.shape == (len(a), len(b))
    assert ((overlaps >= 0) & (overlaps <= 1)).all()
    np.testing.assert_array_equal(overlaps, intersection_over_union(b, a).T)


@given(scored_boxes())
def test_a_box_overlaps_itself_wholly(scored):
    boxes, _ = scored
    np.testing.assert_array_equal(np.diag(intersection_over_union(boxes, boxes)), 1)
    np.testing.assert_array_equal(np.diag(intersection(boxes, boxes)), box_area(boxes))


def test_overlap_of_two_halves_is_a_third():
    a, b = np.float32([[0, 0, 10, 10]]), np.float32([[5, 0, 15, 10]])
    assert intersection(a, b) == 50
    assert intersection_over_union(a, b) == pytest.approx(1 / 3)


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [5, 5, 5, 9], [9, 9, 5, 5]])
def test_a_box_without_area_overlaps_nothing_not_even_itself(box):
    boxes = np.array([box, [0, 0, 10, 10]], np.float32)
    assert box_area(boxes)[0] == 0
    assert not intersection_over_union(boxes, boxes)[0].any()


@given(scored_boxes())
def test_regression_by_zero_changes_nothing(scored):
    boxes, _ = scored
    np.testing.assert_array_equal(bbox_regression(boxes, np.zeros_like(boxes)), boxes)


def test_regression_moves_each_edge_in_units_of_the_box():
    moved = bbox_regression(np.float32([[10, 20, 30, 60]]), np.float32([[0.1, -0.25, 0.5, 0.25]]))
    np.testing.assert_allclose(moved, [[12, 10, 40, 70]])


@given(scored_boxes(), thresholds)
def test_suppression_leaves_no_pair_above_the_threshold_and_drops_none_without_reason(
    scored, threshold
):
    boxes, scores = scored
    kept = non_max_suppression(boxes, scores, threshold)
    overlaps = intersection_over_union(boxes, boxes)
    among_kept = overlaps[np.ix_(kept, kept)] - np.eye(len(kept))
    assert (among_kept <= threshold + 1e-6).all()
    for dropped in set(range(len(boxes))) - set(kept.tolist()):
        better = kept[scores[kept] > scores[dropped]]
        assert (overlaps[dropped, better] > threshold - 1e-6).any()


@given(scored_boxes(), thresholds)
def test_suppression_keeps_the_best_and_orders_by_score(scored, threshold):
    boxes, scores = scored
    for kept in (
        non_max_suppression(boxes, scores, threshold),
        suppress_contained(boxes, scores, threshold),
    ):
        assert kept.dtype == np.int64
        assert (np.diff(scores[kept]) < 0).all()
        assert kept[:1].tolist() == ([scores.argmax()] if len(scores) else [])


@given(scored_boxes(), thresholds)
def test_suppressing_twice_is_suppressing_once(scored, threshold):
    boxes, scores = scored
    for suppress in (non_max_suppression, suppress_contained):
        kept = suppress(boxes, scores, threshold)
        again = suppress(boxes[kept], scores[kept], threshold)
        assert again.tolist() == list(range(len(kept)))


@given(scored_boxes(), thresholds)
def test_containment_leaves_no_pair_that_shares_more_of_the_smaller_box(scored, threshold):
    boxes, scores = scored
    kept = boxes[suppress_contained(boxes, scores, threshold)]
    area = box_area(kept)
    smaller = np.minimum(area[:, None], area[None, :])
    shared = intersection(kept, kept) / smaller
    assert (shared - np.eye(len(kept)) <= threshold + 1e-6).all()


def test_a_small_box_inside_a_better_large_one_goes_only_by_containment():
    boxes = np.float32([[0, 0, 100, 100], [40, 40, 60, 60]])
    scores = np.float32([0.9, 0.8])
    assert non_max_suppression(boxes, scores, 0.7).tolist() == [0, 1]
    assert suppress_contained(boxes, scores, 0.7).tolist() == [0]


def test_boxes_far_from_the_origin_and_left_of_it_are_suppressed_alike():
    boxes = np.float32([[0, 0, 20, 20], [4, 0, 24, 20], [40, 0, 60, 20]])
    scores = np.float32([0.7, 0.9, 0.8])
    for shift in (-5000, 0, 5000):
        kept = non_max_suppression(boxes + np.float32(shift), scores, 0.5)
        assert kept.tolist() == [1, 2]


def test_no_boxes_leave_no_boxes():
    none, no_scores = np.empty((0, 4), np.float32), np.empty(0, np.float32)
    assert non_max_suppression(none, no_scores, 0.5).shape == (0,)
    assert suppress_contained(none, no_scores, 0.5).shape == (0,)


@given(scored_boxes(), thresholds)
def test_merged_boxes_lie_among_those_they_stand_for(scored, threshold):
    boxes, scores = scored
    kept = non_max_suppression(boxes, scores, threshold)
    merged = merge_boxes(boxes, scores, threshold)
    assert merged.shape == (len(kept), 4)
    assert merged.dtype == np.float32
    for index, box in zip(kept, merged, strict=True):
        near = boxes[intersection_over_union(boxes[[index]], boxes)[0] > threshold]
        assert (box >= near.min(axis=0) - 1e-4).all()
        assert (box <= near.max(axis=0) + 1e-4).all()


def test_a_merged_box_is_nearer_to_the_better_of_two():
    boxes = np.float32([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
    merged = merge_boxes(boxes, np.float32([0.9, 0.3, 0.5]), 0.6)
    np.testing.assert_allclose(merged, [[0.25, 0, 10.25, 10], [50, 50, 60, 60]], atol=1e-5)


def test_a_box_without_area_stays_as_it_is():
    boxes = np.float32([[5, 5, 5, 9]])
    np.testing.assert_array_equal(merge_boxes(boxes, np.float32([0.9]), 0.6), boxes)
