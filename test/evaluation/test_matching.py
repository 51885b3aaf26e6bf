# SPDX-License-Identifier: Apache-2.0
"""Detections are matched with known faces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mask_detector_ros.evaluation.matching import IGNORED, MIN_OVERLAP, NO_MATCH, match_by_score
from mask_detector_ros.imaging.boxes import intersection_over_union

NONE = np.empty((0, 4), np.float32)


def boxes_of(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


@st.composite
def boxes(draw):
    corners = draw(arrays(np.float32, (draw(st.integers(0, 6)), 2), elements=st.integers(0, 12)))
    return np.hstack([corners, corners + 10]).astype(np.float32)


@given(boxes(), boxes(), st.randoms())
def test_each_known_face_is_found_once_and_only_where_the_overlap_suffices(found, known, random):
    scores = np.array([random.random() for _ in found], np.float32)
    matches, overlaps = match_by_score(found, scores, known, NONE)
    matched = np.flatnonzero(matches >= 0)
    assert len(set(matches[matched])) == len(matched)
    expected = intersection_over_union(found, known)
    assert all(overlaps[i] == expected[i, matches[i]] >= MIN_OVERLAP for i in matched)
    assert (overlaps[matches < 0] == 0).all()


@given(boxes(), boxes(), st.randoms(), st.floats(0, 1))
def test_detections_below_a_threshold_change_no_match_above_it(found, known, random, threshold):
    scores = np.array([random.random() for _ in found], np.float32)
    above = scores >= threshold
    matches, _ = match_by_score(found, scores, known, NONE)
    alone, _ = match_by_score(found[above], scores[above], known, NONE)
    assert alone.tolist() == matches[above].tolist()


def test_the_better_score_takes_the_face_and_the_second_finds_nothing():
    known = boxes_of([0, 0, 10, 10])
    found = boxes_of([0, 0, 10, 10], [0, 0, 10, 9])
    matches, overlaps = match_by_score(found, np.array([0.8, 0.9], np.float32), known, NONE)
    assert matches.tolist() == [NO_MATCH, 0]
    assert overlaps.tolist() == [0, np.float32(0.9)]


def test_what_is_found_where_a_row_was_skipped_is_neither_right_nor_wrong():
    ignored = boxes_of([100, 100, 120, 120])
    found = boxes_of([101, 101, 120, 120], [0, 0, 10, 10], [50, 50, 60, 60])
    scores = np.ones(3, np.float32)
    matches, _ = match_by_score(found, scores, boxes_of([0, 0, 10, 10]), ignored)
    assert matches.tolist() == [IGNORED, 0, NO_MATCH]


def test_a_detection_that_lies_in_an_ignored_box_is_neither_right_nor_wrong():
    crowd = np.float32([[0, 0, 100, 100]])
    boxes = np.float32([[10, 10, 30, 30], [90, 40, 110, 60], [92, 40, 112, 60]])
    matches, _ = match_by_score(boxes, np.float32([0.9, 0.8, 0.7]), NONE, crowd)
    assert matches.tolist() == [IGNORED, NO_MATCH, NO_MATCH]


def test_a_known_face_in_an_ignored_box_can_still_be_found():
    crowd, face = np.float32([[0, 0, 100, 100]]), np.float32([[10, 10, 30, 30]])
    matches, _ = match_by_score(face, np.float32([0.9]), face, crowd)
    assert matches.tolist() == [0]


@pytest.mark.parametrize(("min_overlap", "match"), [(0.5, NO_MATCH), (0.4, 0)])
def test_the_overlap_that_makes_a_match_is_the_callers(min_overlap, match):
    known = np.float32([[0, 0, 10, 10]])
    moved = np.float32([[0, 4, 10, 14]])  # an intersection over union of 6 / 14
    matches, _ = match_by_score(moved, np.float32([0.9]), known, NONE, min_overlap)
    assert matches.tolist() == [match]
