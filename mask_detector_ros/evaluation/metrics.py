# SPDX-License-Identifier: Apache-2.0
"""Metrics in which each row counts with its weight.

`weights` is always (R, N): R sets of weights for N rows, and each function returns (R,)
values. One set of ones gives the figure itself, and the sets of a bootstrap (`bootstrap.py`) give
its interval. A figure is NaN if there is nothing to count.
"""

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 15
"""As in Guo et al., 2017 (https://arxiv.org/abs/1706.04599)."""

Values = NDArray[np.float64]
Weights = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Indices = NDArray[np.int64]


def ratio(part: Values, whole: Values) -> Values:
    """Metric: part / whole; NaN if the whole is 0."""
    shares: Values = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return shares


def mean(values: NDArray[np.generic], weights: Weights) -> Values:
    """Metric: weighted mean of (N,) values."""
    return ratio(weights @ values.astype(np.float64), weights.sum(axis=1))


def precision_recall(
    scores: NDArray[np.float32], hits: Booleans, weights: Weights, positives: Values
) -> tuple[Values, Values, Values]:
    """Metric: precision and recall with each score as the threshold, highest first.

    Args:
        scores: (N,) of the detections.
        hits: (N,) whether each detection is correct.
        weights: (R, N).
        positives: (R,) total weight of the known faces.

    Returns:
        (K,) the K distinct scores, (R, K) precision, (R, K) recall.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order]
    # Equal scores pass a threshold together, so only the last of them is a point of the curve.
    last = np.append(sorted_scores[1:] != sorted_scores[:-1], True)[: len(scores)]
    found = np.cumsum(weights[:, order], axis=1)[:, last]
    right = np.cumsum(weights[:, order] * hits[order], axis=1)[:, last]
    thresholds = sorted_scores[last].astype(np.float64)
    return (
        thresholds,
        ratio(right, found),
        ratio(right, np.repeat(positives[:, None], last.sum(), 1)),
    )


def average_precision(
    scores: NDArray[np.float32], hits: Booleans, weights: Weights, positives: Values
) -> Values:
    """Metric: average precision, the area under the precision-recall curve, made monotonically
    falling.

    The rule of PASCAL VOC from 2010 on (Everingham et al.), with all points of the curve.
    Arguments as for `precision_recall`.
    """
    _, precision, recall = precision_recall(scores, hits, weights, positives)
    # Detections missing from a draw have no precision and add no recall.
    envelope = np.maximum.accumulate(np.nan_to_num(precision)[:, ::-1], axis=1)[:, ::-1]
    steps = np.diff(recall, axis=1, prepend=0)
    return np.where(positives > 0, (steps * envelope).sum(axis=1), np.nan)


def threshold_at_precision(
    scores: NDArray[np.float32], hits: Booleans, precision: float
) -> float | None:
    """The lowest score threshold at which the metric precision is at least this; None if there is
    none."""
    ones = np.ones((1, len(scores)))
    thresholds, reached, _ = precision_recall(scores, hits, ones, np.ones(1))
    enough = np.flatnonzero(reached[0] >= precision)
    return float(thresholds[enough[-1]]) if len(enough) else None


def roc_auc(scores: Values, positive: Booleans, weights: Weights) -> Values:
    """Metric: area under the ROC curve, the probability that a positive scores above a negative,
    ties half."""
    if not len(scores):
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    sorted_scores = scores[order]
    starts = np.flatnonzero(np.append(True, sorted_scores[1:] != sorted_scores[:-1]))
    above = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    below = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    lower = np.cumsum(below, axis=1) - below / 2
    return ratio((above * lower).sum(axis=1), above.sum(axis=1) * below.sum(axis=1))


def balanced_accuracy(labels: Indices, predicted: Indices, weights: Weights) -> Values:
    """Metric: balanced accuracy, the mean recall over the classes that occur."""
    classes = np.unique(labels)
    members = (labels[:, None] == classes).astype(np.float64)
    present = weights @ members
    right = weights @ (members * (labels == predicted)[:, None])
    shares = np.nan_to_num(ratio(right, present))
    return ratio(shares.sum(axis=1), (present > 0).sum(axis=1).astype(np.float64))


def confusion_matrix(labels: Indices, predicted: Indices, classes: int) -> Indices:
    """Metric: (classes, classes) counts; rows are true labels, columns predicted labels."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def calibration_error(confidence: Values, correct: Booleans, weights: Weights) -> Values:
    """Metric: expected calibration error, the mean difference between confidence and accuracy over
    bins.

    Bins of equal width; Naeini et al., 2015, in the form of Guo et al., 2017.

    Args:
        confidence: (N,) probability of the predicted label.
        correct: (N,) whether it is the true label.
        weights: (R, N).
    """
    members = (calibration_bins(confidence)[:, None] == np.arange(CALIBRATION_BINS)).astype(float)
    gaps = weights @ (members * (correct - confidence)[:, None])
    return ratio(np.abs(gaps).sum(axis=1), weights.sum(axis=1))


def calibration_bins(confidence: Values) -> Indices:
    """(N,) bin index, 0 to `CALIBRATION_BINS` - 1, of each confidence from 0 to 1, for the
    calibration metric."""
    bins: Indices = np.floor(confidence * CALIBRATION_BINS).astype(np.int64)
    return np.minimum(bins, CALIBRATION_BINS - 1)
