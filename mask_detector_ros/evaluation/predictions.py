# SPDX-License-Identifier: Apache-2.0
"""Predictions of the networks on the photographs of a data set, as flat arrays."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.evaluation.matching import MIN_OVERLAP, NO_MATCH


@dataclass(frozen=True, eq=False)
class Predictions:
    """The networks' predictions for T known faces and D detections in I images.

    Attributes:
        paths: paths of the I images.
        threshold: the chosen score threshold; lower-scored detections are kept for the curve.
        truth_boxes, truth_images, truth_labels: (T, 4), (T,) and (T,), the known faces.
        for_detection: (T,) whether the face also counts for detection.
        boxes, scores, images: (D, 4), (D,) and (D,), the detections.
        matches: (D,) the known face that each detection matches, or `NO_MATCH`.
        overlaps: (D,) intersection over union with the match.
        crop_probabilities: (T, 3) on the known boxes, by model.
        probabilities: (D, 3) on the detections, by model.
        min_overlap: minimum intersection over union of a match.
        sizes: (I, 2) width and height of the images in pixels.
        negatives: (I,) whether an image is listed as having no face.
        sources: (I,) source of each image.
        truth_landmarks: (T, 5, 2) landmarks of the known faces, in pixels.
        truth_tones: (T,) individual typology angles of the known faces, in degrees, or NaN.
    """

    paths: tuple[Path, ...]
    threshold: float
    truth_boxes: NDArray[np.float32]
    truth_images: NDArray[np.int64]
    truth_labels: NDArray[np.int64]
    for_detection: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    images: NDArray[np.int64]
    matches: NDArray[np.int64]
    overlaps: NDArray[np.float32]
    crop_probabilities: dict[str, NDArray[np.float32]]
    probabilities: dict[str, NDArray[np.float32]]
    min_overlap: float = MIN_OVERLAP
    sizes: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 2), np.float32))
    negatives: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    sources: tuple[str, ...] = ()
    truth_landmarks: NDArray[np.float32] = field(
        default_factory=lambda: np.empty((0, 5, 2), np.float32)
    )
    truth_tones: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def truth_sides(self) -> NDArray[np.float32]:
        """(T,) longer sides of the known faces among the predictions, in pixels."""
        return longer_sides(self.truth_boxes)

    @property
    def sides(self) -> NDArray[np.float32]:
        """(D,) longer sides of the predicted boxes in pixels."""
        return longer_sides(self.boxes)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """(D,) whether each predicted box reaches the chosen threshold."""
        # Compare in the precision of the scores, as the cascade does.
        reached: NDArray[np.bool_] = self.scores >= np.float32(self.threshold)
        return reached

    @property
    def found_by(self) -> NDArray[np.int64]:
        """(T,) the accepted prediction that matches each known face, or `NO_MATCH`."""
        finders = np.full(len(self.truth_boxes), NO_MATCH, np.int64)
        rows = np.flatnonzero(self.accepted & (self.matches >= 0))
        finders[self.matches[rows]] = rows
        return finders


def longer_sides(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) longer side of each of (N, 4) known or predicted boxes."""
    sides: NDArray[np.float32] = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    return sides
