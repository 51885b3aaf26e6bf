# SPDX-License-Identifier: Apache-2.0
"""Metrics, compared with simple reference implementations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mask_detector_ros.evaluation.metrics import (
    CALIBRATION_BINS,
    average_precision,
    balanced_accuracy,
    calibration_error,
    confusion_matrix,
    mean,
    precision_recall,
    roc_auc,
    threshold_at_precision,
)

# Few different values, so that ties are common.
SCORES = st.integers(0, 8).map(lambda n: n / 8)


@st.composite
def scored_rows(draw, least=1):
    """Scores, hits and how often each row counts."""
    n = draw(st.integers(least, 12))
    scores = draw(arrays(np.float32, n, elements=SCORES))
    hits = draw(arrays(bool, n))
    weights = draw(arrays(np.float64, (2, n), elements=st.integers(0, 3).map(float)))
    return scores, hits, weights


def ones(n):
    return np.ones((1, n))


def repeat(row, *columns):
    """Repeat each row as often as its weight says."""
    return [np.repeat(column, row.astype(int)) for column in columns]


def reference_average_precision(scores, hits, positives):
    """For each hit, find the best precision at its score or a lower one, in a plain loop."""
    points = []
    for threshold in sorted(set(scores.tolist()), reverse=True):
        passed = scores >= threshold
        points.append((hits[passed].sum() / passed.sum(), hits[passed].sum() / positives))
    area, before = 0.0, 0.0
    for index, (_, recall) in enumerate(points):
        area += (recall - before) * max(precision for precision, _ in points[index:])
        before = recall
    return area


@given(scored_rows(), st.integers(0, 4))
def test_average_precision_is_the_area_under_the_envelope_of_the_curve(rows, missed):
    scores, hits, _ = rows
    positives = hits.sum() + missed
    got = average_precision(scores, hits, ones(len(scores)), np.array([float(positives)]))[0]
    if positives:
        assert got == pytest.approx(reference_average_precision(scores, hits, positives))
    else:
        assert np.isnan(got)


@given(st.integers(1, 20))
def test_average_precision_of_perfect_detections_is_1(n):
    scores = np.linspace(1, 0.5, n, dtype=np.float32)
    assert average_precision(scores, np.ones(n, bool), ones(n), np.array([float(n)]))[0] == (
        pytest.approx(1)
    )


@given(scored_rows(), st.randoms())
def test_average_precision_does_not_depend_on_the_order_of_detections(rows, random):
    scores, hits, weights = rows
    order = list(range(len(scores)))
    random.shuffle(order)
    positives = np.full(2, 50.0)
    before = average_precision(scores, hits, weights, positives)
    after = average_precision(scores[order], hits[order], weights[:, order], positives)
    np.testing.assert_allclose(after, before)


@given(scored_rows(), st.integers(0, 11))
def test_average_precision_does_not_fall_when_a_false_detection_becomes_right(rows, index):
    scores, hits, _ = rows
    better = hits.copy()
    better[index % len(hits)] = True
    worse, best = (
        average_precision(scores, h, ones(len(scores)), np.array([20.0]))[0] for h in (hits, better)
    )
    assert best >= worse - 1e-12


def test_average_precision_without_a_detection_is_0():
    nothing = np.empty(0, np.float32)
    got = average_precision(nothing, nothing.astype(bool), ones(0), np.array([3.0]))
    assert got.tolist() == [0]


@given(scored_rows())
def test_recall_never_falls_with_the_threshold_and_thresholds_are_distinct(rows):
    scores, hits, _ = rows
    thresholds, precision, recall = precision_recall(
        scores, hits, ones(len(scores)), np.array([20.0])
    )
    assert (np.diff(thresholds) < 0).all()
    assert (np.diff(recall[0]) >= 0).all()
    assert ((precision >= 0) & (precision <= 1)).all()


@given(scored_rows(), st.sampled_from([0.25, 0.5, 0.85, 1.0]))
def test_the_threshold_at_a_precision_is_the_lowest_that_has_it(rows, wanted):
    scores, hits, _ = rows
    reaching = [t for t in set(scores.tolist()) if hits[scores >= t].mean() >= wanted]
    assert threshold_at_precision(scores, hits, wanted) == (min(reaching) if reaching else None)


@given(scored_rows())
def test_auc_is_the_share_of_pairs_in_the_right_order(rows):
    scores, positive, _ = rows
    got = roc_auc(scores, positive, ones(len(scores)))[0]
    pairs = [
        (above > below) + (above == below) / 2
        for above in scores[positive]
        for below in scores[~positive]
    ]
    if pairs:
        assert got == pytest.approx(np.mean(pairs))
    else:
        assert np.isnan(got)


@given(scored_rows())
def test_auc_of_opposite_scores_is_the_rest_to_1(rows):
    scores, positive, weights = rows
    total = roc_auc(scores, positive, weights) + roc_auc(-scores, positive, weights)
    assert ((np.abs(total - 1) < 1e-9) | np.isnan(total)).all()


@given(scored_rows())
def test_auc_sees_only_the_order_of_scores(rows):
    scores, positive, weights = rows
    before = roc_auc(scores, positive, weights)
    np.testing.assert_allclose(roc_auc(np.exp(3 * scores), positive, weights), before)


@given(scored_rows())
def test_calibration_error_is_the_mean_gap_over_bins(rows):
    confidence, correct, _ = rows
    confidence = confidence.astype(np.float64)
    got = calibration_error(confidence, correct, ones(len(confidence)))[0]
    expected = 0.0
    for k in range(CALIBRATION_BINS):
        upper = np.inf if k == CALIBRATION_BINS - 1 else (k + 1) / CALIBRATION_BINS
        chosen = (confidence >= k / CALIBRATION_BINS) & (confidence < upper)
        if chosen.any():
            gap = abs(correct[chosen].mean() - confidence[chosen].mean())
            expected += gap * chosen.mean()
    assert got == pytest.approx(expected)
    assert 0 <= got <= 1


def test_sure_and_right_is_perfectly_calibrated_and_sure_and_wrong_is_as_bad_as_can_be():
    confidence = np.ones(5)
    assert calibration_error(confidence, np.ones(5, bool), ones(5))[0] == 0
    assert calibration_error(confidence, np.zeros(5, bool), ones(5))[0] == 1


@given(scored_rows())
def test_weights_mean_that_rows_come_several_times(rows):
    values, flags, weights = rows
    labels, predicted = (values * 8).astype(int) % 3, flags.astype(int)
    got = {
        "mean": mean(values, weights),
        "ap": average_precision(values, flags, weights, weights.sum(axis=1)),
        "auc": roc_auc(values, flags, weights),
        "balanced": balanced_accuracy(labels, predicted, weights),
        "calibration": calibration_error(values.astype(float), flags, weights),
    }
    for index, row in enumerate(weights):
        v, f, a, p = repeat(row, values, flags, labels, predicted)
        expected = {
            "mean": mean(v, ones(len(v))),
            "ap": average_precision(v, f, ones(len(v)), np.array([float(len(v))])),
            "auc": roc_auc(v, f, ones(len(v))),
            "balanced": balanced_accuracy(a, p, ones(len(v))),
            "calibration": calibration_error(v.astype(float), f, ones(len(v))),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(got[name][index], value[0], atol=1e-6, err_msg=name)


def test_balanced_accuracy_counts_each_class_that_is_present_once():
    labels = np.array([0, 0, 0, 0, 2])
    predicted = np.array([0, 0, 0, 1, 1])
    assert balanced_accuracy(labels, predicted, ones(5)).tolist() == [0.375]


@given(arrays(np.int64, st.tuples(st.integers(1, 20)), elements=st.integers(0, 2)), st.randoms())
def test_the_confusion_matrix_counts_every_row_once(labels, random):
    predicted = labels.copy()
    random.shuffle(predicted)
    matrix = confusion_matrix(labels, predicted, 3)
    assert matrix.sum(axis=1).tolist() == np.bincount(labels, minlength=3).tolist()
    assert matrix.sum(axis=0).tolist() == np.bincount(predicted, minlength=3).tolist()
    assert np.trace(matrix) == (labels == predicted).sum()
