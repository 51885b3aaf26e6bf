# SPDX-License-Identifier: Apache-2.0
"""Summarise predictions as figures of detection, classification and both, with intervals."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.evaluation import metrics
from mask_detector_ros.evaluation.bootstrap import Estimate, draw_images, estimate
from mask_detector_ros.evaluation.dataset import LABELS, WITH_MASK, WITHOUT_MASK, WORN_INCORRECTLY
from mask_detector_ros.evaluation.group_figures import (
    FalseFaces,
    GroupFigures,
    false_faces,
    group_figures,
)
from mask_detector_ros.evaluation.matching import NO_MATCH
from mask_detector_ros.evaluation.predictions import Predictions

SIZES = {
    "all sizes": (0.0, np.inf),
    "24 px and more": (24.0, np.inf),
    "under 24 px": (0.0, 24.0),
    "24 to 48 px": (24.0, 48.0),
    "48 to 96 px": (48.0, 96.0),
    "96 px and more": (96.0, np.inf),
}
"""Ranges of the longer side of a face's box, in pixels, the upper end exclusive."""

HEADLINE = "24 px and more"
"""The range to compare by, since labels of smaller faces are guesses."""

ANY_STATE = "any"
WANTED_PRECISION = 0.93

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class DetectionFigures:
    """Detection of the faces of one size range and mask state, at the chosen threshold."""

    size: str
    state: str
    faces: int
    recall: Estimate
    precision: Estimate
    average_precision: Estimate
    mean_iou: Estimate


@dataclass(frozen=True)
class PrecisionPoint:
    """Recall by mask state at the lowest threshold with the required precision.

    `threshold` and the recalls are None if no threshold has it. The threshold is the same in
    every draw of the bootstrap.
    """

    size: str
    precision: float
    threshold: float | None
    recall: dict[str, Estimate] | None


@dataclass(frozen=True)
class ClassificationFigures:
    """Classification of known boxes of one size range; rows of `confusion` are true labels."""

    size: str
    faces: int
    binary_balanced_accuracy: Estimate
    balanced_accuracy: Estimate
    auc: Estimate
    calibration_error: Estimate
    bare_called_incorrect: Estimate
    confusion: list[list[int]]


@dataclass(frozen=True)
class EndToEndFigures:
    """Share of the faces of one size range and label with correct box and label."""

    size: str
    label: str
    faces: int
    share: Estimate


@dataclass(frozen=True)
class ModelFigures:
    """Figures that depend on the classifier."""

    classification: list[ClassificationFigures]
    end_to_end: list[EndToEndFigures]
    groups: list[GroupFigures]


@dataclass(frozen=True)
class Summary:
    """Summary of an evaluation: all its figures."""

    detection: list[DetectionFigures]
    at_precision: PrecisionPoint
    models: dict[str, ModelFigures]
    false_faces: list[FalseFaces]
    min_overlap: float


def summarise(
    predictions: Predictions,
    progress: Callable[[list[str]], Iterable[str]] = iter,
    rounds: int = 1000,
) -> Summary:
    """Summarise the predictions: compute all figures of an evaluation.

    Args:
        progress: wraps the names of the parts to show progress.
    """
    draws = draw_images(len(predictions.paths), rounds)
    detection: list[DetectionFigures] = []
    models: dict[str, ModelFigures] = {}
    for part in progress([*SIZES, *predictions.crop_probabilities]):
        if part in SIZES:
            states = (None, *range(len(LABELS)))
            detection += [detection_figures(predictions, part, state, draws) for state in states]
        else:
            models[part] = ModelFigures(
                [
                    classification_figures(size, *known_boxes(predictions, part, size), draws)
                    for size in SIZES
                ],
                [
                    end_to_end_figures(predictions, part, size, label, draws)
                    for size in SIZES
                    for label in range(len(LABELS))
                ],
                group_figures(predictions, part, draws),
            )
    return Summary(
        detection,
        precision_point(predictions, draws),
        models,
        false_faces(predictions, draws),
        predictions.min_overlap,
    )


def in_range(sides: NDArray[np.float32], size: str) -> Mask:
    """(N,) whether each side lies in a size range of the summary."""
    low, high = SIZES[size]
    chosen: Mask = (sides >= low) & (sides < high)
    return chosen


def detection_rows(predictions: Predictions, size: str, state: int | None) -> tuple[Mask, Mask]:
    """The (T,) known faces and (D,) detections that the summary counts for a size range and mask
    state.

    A matched detection counts where its known face does. A false detection counts in the range
    of its own size and for every state, since it has none. Photographs without a face have a
    separate table.
    """
    truth = predictions.for_detection & in_range(predictions.truth_sides, size)
    if state is not None:
        truth = truth & (predictions.truth_labels == state)
    unmatched = predictions.matches == NO_MATCH
    counts_by_match = np.append(truth, False)[predictions.matches] & ~unmatched
    rows = np.where(unmatched, in_range(predictions.sides, size), counts_by_match)
    if len(predictions.negatives):
        rows &= ~predictions.negatives[predictions.images]
    return truth, rows


def detection_figures(
    predictions: Predictions, size: str, state: int | None, draws: NDArray[np.uint16]
) -> DetectionFigures:
    truth, rows = detection_rows(predictions, size, state)
    accepted = rows & predictions.accepted
    right = accepted & (predictions.matches >= 0)

    def share(values: NDArray[Any], images: NDArray[np.int64]) -> Estimate:
        return estimate(partial(metrics.mean, values), draws, images)

    def ap(weights: metrics.Weights) -> metrics.Values:
        positives = weights[:, predictions.truth_images[truth]].sum(axis=1)
        hits = predictions.matches[rows] >= 0
        return metrics.average_precision(
            predictions.scores[rows], hits, weights[:, predictions.images[rows]], positives
        )

    return DetectionFigures(
        size,
        ANY_STATE if state is None else LABELS[state],
        int(truth.sum()),
        share(predictions.found_by[truth] >= 0, predictions.truth_images[truth]),
        share(predictions.matches[accepted] >= 0, predictions.images[accepted]),
        estimate(ap, draws),
        share(predictions.overlaps[right], predictions.images[right]),
    )


def precision_point(predictions: Predictions, draws: NDArray[np.uint16]) -> PrecisionPoint:
    threshold, found = found_at_precision(predictions, WANTED_PRECISION)
    if threshold is None:
        return PrecisionPoint(HEADLINE, WANTED_PRECISION, None, None)
    recall = {}
    for state in (None, *range(len(LABELS))):
        truth, _ = detection_rows(predictions, HEADLINE, state)
        name = ANY_STATE if state is None else LABELS[state]
        images = predictions.truth_images[truth]
        recall[name] = estimate(partial(metrics.mean, found[truth]), draws, images)
    return PrecisionPoint(HEADLINE, WANTED_PRECISION, threshold, recall)


def found_at_precision(predictions: Predictions, precision: float) -> tuple[float | None, Mask]:
    """The lowest threshold at which the summary has this precision, and the (T,) known faces found
    at it."""
    _, rows = detection_rows(predictions, HEADLINE, None)
    hits = predictions.matches[rows] >= 0
    threshold = metrics.threshold_at_precision(predictions.scores[rows], hits, precision)
    found = np.zeros(len(predictions.truth_boxes), bool)
    if threshold is not None:
        found[
            predictions.matches[(predictions.matches >= 0) & (predictions.scores >= threshold)]
        ] = True
    return threshold, found


def classification_figures(
    size: str,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    images: NDArray[np.int64],
    draws: NDArray[np.uint16],
) -> ClassificationFigures:
    """Figures of the classification of N known boxes, from their labels (N,), probabilities (N, 3)
    and images (N,)."""
    predicted = probabilities.argmax(axis=1)
    two = labels != WORN_INCORRECTLY
    mask_share = masked_share(probabilities[two])
    binary_prediction = np.where(mask_share >= 0.5, WITH_MASK, WITHOUT_MASK)
    error = partial(metrics.calibration_error, probabilities.max(axis=1), predicted == labels)
    bare = labels == WITHOUT_MASK
    return ClassificationFigures(
        size,
        len(labels),
        estimate(
            partial(metrics.balanced_accuracy, labels[two], binary_prediction), draws, images[two]
        ),
        estimate(partial(metrics.balanced_accuracy, labels, predicted), draws, images),
        estimate(
            partial(metrics.roc_auc, mask_share, labels[two] == WITH_MASK), draws, images[two]
        ),
        estimate(error, draws, images),
        estimate(partial(metrics.mean, predicted[bare] == WORN_INCORRECTLY), draws, images[bare]),
        metrics.confusion_matrix(labels, predicted, len(LABELS)).tolist(),
    )


def known_boxes(
    predictions: Predictions, model: str, size: str
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Labels, a model's probabilities and images of the known boxes of a size range, which the
    summary classifies."""
    rows = in_range(predictions.truth_sides, size)
    probabilities = predictions.crop_probabilities[model][rows].astype(np.float64)
    return predictions.truth_labels[rows], probabilities, predictions.truth_images[rows]


def masked_share(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) probability of mask against no mask in the summary, from (N, 3) probabilities; 0.5 if
    both are 0."""
    mask, bare = probabilities[:, WITH_MASK], probabilities[:, WITHOUT_MASK]
    total = mask + bare
    share: NDArray[np.float64] = np.divide(
        mask, total, out=np.full(len(total), 0.5), where=total > 0
    )
    return share


def end_to_end_figures(
    predictions: Predictions, model: str, size: str, label: int, draws: NDArray[np.uint16]
) -> EndToEndFigures:
    truth, _ = detection_rows(predictions, size, label)
    # The extra last row stands for missed faces.
    predicted = np.append(predictions.probabilities[model].argmax(axis=1), -1)[predictions.found_by]
    right = (predicted == predictions.truth_labels)[truth]
    share = estimate(partial(metrics.mean, right), draws, predictions.truth_images[truth])
    return EndToEndFigures(size, LABELS[label], int(truth.sum()), share)
