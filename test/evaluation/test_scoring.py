# SPDX-License-Identifier: Apache-2.0
"""Detected faces are compared with known ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.evaluation.matching import MatchCounts, count_matches, match_faces
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import intersection_over_union

LABELS = ("with_mask", "without_mask")


def faces(*boxes, labels=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    count = len(boxes)
    ids = [LABELS.index(label) for label in labels] if labels else [0] * count
    zeros = np.zeros((count, 5, 2), np.float32)
    return Faces(boxes, np.ones(count, np.float32), zeros, label_names=LABELS, label_ids=ids)


def random_faces(seed, count):
    random = np.random.default_rng(seed)
    corner = random.integers(0, 30, (count, 2))
    return faces(*np.hstack([corner, corner + random.integers(5, 30, (count, 2))]))


@given(st.integers(0, 10**6), st.integers(0, 8), st.integers(0, 8))
def test_matches_are_pairs_that_overlap_enough(seed, found_count, truth_count):
    found, truth = random_faces(seed, found_count), random_faces(seed + 1, truth_count)
    matches = match_faces(found, truth, 0.3)
    assert matches.shape == (truth_count,)
    taken = matches[matches >= 0]
    assert len(set(taken.tolist())) == len(taken)
    overlaps = intersection_over_union(truth.boxes, found.boxes)
    for known, match in enumerate(matches):
        if match >= 0:
            assert overlaps[known, match] >= 0.3
        else:
            free = np.setdiff1d(np.arange(found_count), taken)
            assert (overlaps[known, free] < 0.3).all()


def test_the_best_overlapping_pair_goes_first():
    truth = faces([0, 0, 10, 10], [3, 0, 13, 10])
    found = faces([2, 0, 12, 10])
    assert match_faces(found, truth).tolist() == [-1, 0]


def test_faces_match_themselves_in_any_order():
    truth = faces([0, 0, 10, 10], [50, 0, 70, 20], [0, 50, 5, 60])
    assert match_faces(truth[[2, 0, 1]], truth).tolist() == [1, 2, 0]


def test_no_faces_match_nothing():
    some = faces([0, 0, 10, 10])
    assert match_faces(Faces.empty(LABELS), some).tolist() == [-1]
    assert match_faces(some, Faces.empty(LABELS)).tolist() == []


def test_scores_count_present_found_and_right_by_the_known_label():
    truth = faces(
        [0, 0, 50, 50], [100, 0, 150, 50], [200, 0, 250, 50],
        labels=["with_mask", "with_mask", "without_mask"],
    )  # fmt: skip
    found = faces([0, 0, 50, 50], [205, 0, 250, 50], labels=["without_mask", "without_mask"])
    scores = count_matches([(found, truth), (Faces.empty(LABELS), truth[[2]])])
    assert scores == {"with_mask": MatchCounts(2, 1, 0), "without_mask": MatchCounts(2, 1, 1)}
    assert scores["with_mask"].recall == 0.5
    assert scores["with_mask"].label_accuracy == 0
    assert scores["without_mask"].label_accuracy == 1


def test_known_faces_below_the_smallest_side_do_not_count():
    truth = faces([0, 0, 39, 20], [100, 0, 120, 40])
    assert count_matches([(truth, truth)], min_side=40) == {"with_mask": MatchCounts(1, 1, 1)}


def test_faces_that_nobody_knows_do_not_count():
    found = faces([0, 0, 10, 10])
    assert count_matches([(found, Faces.empty(LABELS))]) == {}


@pytest.mark.parametrize("name", ["recall", "label_accuracy"])
def test_a_share_of_nothing_is_one(name):
    assert getattr(MatchCounts(), name) == 1.0
