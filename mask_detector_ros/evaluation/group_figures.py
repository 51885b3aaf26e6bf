# SPDX-License-Identifier: Apache-2.0
"""Figures by group of faces, and of false faces, which show where a detector is weaker."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.evaluation.bootstrap import Estimate, estimate
from mask_detector_ros.evaluation.dataset import WITHOUT_MASK, WORN_INCORRECTLY
from mask_detector_ros.evaluation.face_groups import TONES, YAWS, yaw_ratio
from mask_detector_ros.evaluation.matching import NO_MATCH
from mask_detector_ros.evaluation.metrics import Values, Weights, mean, ratio
from mask_detector_ros.evaluation.predictions import Predictions

MIN_SIDE = 24.0
"""Minimum longer side in pixels of grouped faces: yaw and skin of smaller ones are guesses."""

LABELLED, NEGATIVES = "labelled photographs", "photographs without a face"

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class GroupFigures:
    """The figures of one group of faces: recall, and label accuracy on their known boxes."""

    group: str
    faces: int
    recall: Estimate
    label_accuracy: Estimate
    bare_faces: int
    bare_called_incorrect: Estimate


@dataclass(frozen=True)
class FalseFaces:
    """The figures of false detections at the chosen threshold."""

    images: str
    count: int
    false_faces: int
    per_image: Estimate
    per_megapixel: Estimate


def group_figures(
    predictions: Predictions, model: str, draws: NDArray[np.uint16]
) -> list[GroupFigures]:
    """Compute the figures of each group of `groups_of` that has faces."""
    predicted = predictions.crop_probabilities[model].argmax(axis=1)
    right = predicted == predictions.truth_labels
    found = predictions.found_by != NO_MATCH
    images = predictions.truth_images

    def share(values: NDArray[np.bool_], rows: Mask) -> Estimate:
        return estimate(partial(mean, values[rows]), draws, images[rows])

    figures = []
    for name, rows in groups_of(predictions):
        bare = rows & (predictions.truth_labels == WITHOUT_MASK)
        figures.append(
            GroupFigures(
                name,
                int(rows.sum()),
                share(found, rows & predictions.for_detection),
                share(right, rows),
                int(bare.sum()),
                share(predicted == WORN_INCORRECTLY, bare),
            )
        )
    return figures


def groups_of(predictions: Predictions) -> Iterator[tuple[str, Mask]]:
    """Name and (T,) members of each group with figures: all faces, and each yaw, skin tone and
    source."""
    large = predictions.truth_sides >= MIN_SIDE
    groups = {"all": large}
    if len(predictions.truth_landmarks):
        for ranges, values in (
            (YAWS, yaw_ratio(predictions.truth_landmarks)),
            (TONES, predictions.truth_tones),
        ):
            for name, (low, high) in ranges.items():
                groups[name] = large & (values >= low) & (values < high)
    sources = np.array(predictions.sources or [""] * len(predictions.paths))[
        predictions.truth_images
    ]
    groups |= {
        f"source {source}": large & (sources == source) for source in sorted(set(sources)) if source
    }
    return ((name, rows) for name, rows in groups.items() if rows.any())


def false_faces(predictions: Predictions, draws: NDArray[np.uint16]) -> list[FalseFaces]:
    """Compute the figures of false faces on the labelled photographs and on those without a face,
    if there are any."""
    if not len(predictions.sizes):
        return []
    false = predictions.accepted & (predictions.matches == NO_MATCH)
    counts = np.bincount(predictions.images[false], minlength=len(predictions.paths)).astype(
        np.float64
    )
    megapixels = np.prod(predictions.sizes, axis=1, dtype=np.float64) / 1e6
    cut_out = np.zeros(len(predictions.paths), bool)
    cut_out[predictions.truth_images[~predictions.for_detection]] = True

    def rate(rows: Mask, per: NDArray[np.float64]) -> Estimate:
        def metric(weights: Weights) -> Values:
            return ratio(weights @ counts[rows], weights @ per[rows])

        return estimate(metric, draws, np.flatnonzero(rows))

    groups = {LABELLED: ~predictions.negatives & ~cut_out, NEGATIVES: predictions.negatives}
    return [
        FalseFaces(
            name,
            int(rows.sum()),
            int(counts[rows].sum()),
            rate(rows, np.ones(len(counts))),
            rate(rows, megapixels),
        )
        for name, rows in groups.items()
        if rows.any()
    ]
