# SPDX-License-Identifier: Apache-2.0
"""Figures are computed from predictions."""

from dataclasses import replace

import numpy as np
import pytest

from mask_detector_ros.evaluation.dataset import LABELS
from mask_detector_ros.evaluation.summary import SIZES, masked_share, summarise

HEADLINE, ALL = "24 px and more", "all sizes"


@pytest.fixture
def summary(predictions):
    return summarise(predictions, rounds=50)


def detection(summary, size, state="any"):
    (row,) = [r for r in summary.detection if (r.size, r.state) == (size, state)]
    return row


def test_recall_counts_what_reaches_the_threshold_and_leaves_out_cut_out_faces(summary):
    row = detection(summary, ALL)
    assert (row.faces, row.recall.value) == (4, 0.5)
    assert row.precision.value == pytest.approx(2 / 3)
    assert row.mean_iou.value == pytest.approx(0.9)


def test_average_precision_takes_in_what_lies_below_the_threshold(summary):
    # Of 4 faces: two at precision 1, then a false one, then the third at 3 of 4.
    assert detection(summary, ALL).average_precision.value == pytest.approx(0.25 * (1 + 1 + 0.75))


def test_sizes_part_the_known_faces_and_a_false_detection_counts_by_its_own(summary):
    counts = {size: detection(summary, size).faces for size in SIZES}
    assert list(counts.values()) == [4, 3, 1, 1, 1, 1]
    assert detection(summary, "24 to 48 px").precision.value == 0.5
    assert detection(summary, "48 to 96 px").precision.value == 1
    assert np.isnan(detection(summary, "under 24 px").precision.value)
    assert detection(summary, "under 24 px").recall.value == 0


def test_a_mask_state_has_its_own_faces_and_all_false_detections(summary):
    bare = detection(summary, ALL, "without_mask")
    assert (bare.faces, bare.recall.value, bare.precision.value) == (1, 1, 0.5)
    badly = detection(summary, ALL, "mask_worn_incorrectly")
    assert (badly.faces, badly.recall.value) == (1, 0)


def test_the_point_at_a_precision_is_the_lowest_threshold_that_has_it(summary):
    # At 0.9 two of two are right; from 0.8 down at most three of four.
    point = summary.at_precision
    assert point.threshold == pytest.approx(0.9)
    assert {name: recall.value for name, recall in point.recall.items()} == {
        "any": pytest.approx(2 / 3),
        "with_mask": 1,
        "without_mask": 1,
        "mask_worn_incorrectly": 0,
    }


def test_a_precision_that_no_threshold_has_gives_no_point(predictions):
    none_right = replace(predictions, matches=np.full(4, -1))
    point = summarise(none_right, rounds=5).at_precision
    assert (point.threshold, point.recall) == (None, None)


def test_classification_uses_cut_out_faces_too_and_counts_by_true_label(summary):
    rows = {row.size: row for row in summary.models["net"].classification}
    assert rows[ALL].faces == 5
    assert rows[ALL].confusion == [[3, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert rows[ALL].balanced_accuracy.value == pytest.approx(2 / 3)
    assert rows[ALL].binary_balanced_accuracy.value == 0.5
    assert rows[ALL].auc.value == 0.5
    # Always 0.8 sure and four of five times right.
    assert rows[ALL].calibration_error.value == pytest.approx(0, abs=1e-6)
    assert rows[HEADLINE].faces == 4
    assert np.isnan(rows["under 24 px"].auc.value)


def test_end_to_end_needs_the_box_and_the_label(summary):
    shares = {
        (row.size, row.label): (row.faces, row.share.value)
        for row in summary.models["net"].end_to_end
    }
    assert [shares[ALL, label] for label in LABELS] == [(2, 0.5), (1, 0), (1, 0)]
    assert shares[HEADLINE, "with_mask"] == (1, 1)


def test_mask_against_no_mask_leaves_the_third_label_aside():
    probabilities = np.array([[0.3, 0.1, 0.6], [0, 0, 1], [0, 0.5, 0.5]])
    assert masked_share(probabilities).tolist() == pytest.approx([0.75, 0.5, 0])


def test_the_same_observations_give_the_same_intervals(predictions, summary):
    assert str(summarise(predictions, rounds=50)) == str(summary)


def test_nothing_found_at_all_is_a_recall_of_0(predictions):
    nothing = replace(
        predictions,
        boxes=np.empty((0, 4), np.float32),
        scores=np.empty(0, np.float32),
        images=np.empty(0, np.int64),
        matches=np.empty(0, np.int64),
        overlaps=np.empty(0, np.float32),
        probabilities={"net": np.empty((0, 3), np.float32)},
    )
    row = detection(summarise(nothing, rounds=5), ALL)
    assert (row.recall.value, row.average_precision.value) == (0, 0)
    assert np.isnan([row.precision.value, row.mean_iou.value]).all()
