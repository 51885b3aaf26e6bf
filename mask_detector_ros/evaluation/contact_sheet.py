# SPDX-License-Identifier: Apache-2.0
"""Contact sheet: thumbnails of the worst errors."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.evaluation.dataset import LABELS
from mask_detector_ros.evaluation.matching import NO_MATCH
from mask_detector_ros.evaluation.predictions import Predictions
from mask_detector_ros.evaluation.report_tables import label_words
from mask_detector_ros.imaging.boxes import intersection_over_union
from mask_detector_ros.imaging.crops import crop_squares, square_slices
from mask_detector_ros.sources import read_image

ERRORS_OF_A_KIND = 24
THUMBNAIL_SIDE = 128
CONTEXT = 0.5
"""Margin around the box in a thumbnail, as a fraction of its longer side."""

_COLOUR = (60, 220, 60)


@dataclass(frozen=True, eq=False)
class WrongFace:
    """One error on the contact sheet.

    Attributes:
        box: (4,) box of the known face or of the false detection.
    """

    path: Path
    box: NDArray[np.float32]
    caption: str


def worst_errors(predictions: Predictions) -> dict[str, list[WrongFace]]:
    """The worst errors by kind, for the contact sheet: missed faces, false detections, wrong
    labels."""
    missed = predictions.for_detection & (predictions.found_by == NO_MATCH)
    false = predictions.accepted & (predictions.matches == NO_MATCH)
    errors = {
        "Missed faces, the largest first": [
            _known(
                predictions,
                row,
                f"{predictions.truth_sides[row]:.0f} px,"
                f" best overlap {best_overlap(predictions, row):.2f}",
            )
            for row in _largest(missed, predictions.truth_sides)
        ],
        "Detections without a known face, the surest first": [
            WrongFace(
                predictions.paths[predictions.images[row]],
                predictions.boxes[row],
                f"score {predictions.scores[row]:.3f}",
            )
            for row in _largest(false, predictions.scores)
        ],
    }
    for name, probabilities in predictions.crop_probabilities.items():
        predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        wrong = predicted != predictions.truth_labels
        errors[f"Wrong labels of {name} on known boxes, the surest first"] = [
            _known(
                predictions,
                row,
                f"taken for {label_words(LABELS[predicted[row]])} {confidence[row]:.3f}",
            )
            for row in _largest(wrong, confidence)
        ]
    return errors


def best_overlap(predictions: Predictions, row: int) -> float:
    """Largest intersection over union of a known face on the contact sheet with an accepted
    detection.

    It distinguishes a misplaced box from a missed face.
    """
    candidates = predictions.boxes[
        predictions.accepted & (predictions.images == predictions.truth_images[row])
    ]
    overlaps = intersection_over_union(predictions.truth_boxes[[row]], candidates)
    return float(overlaps.max(initial=0))


def _known(predictions: Predictions, row: int, what: str) -> WrongFace:
    caption = f"{label_words(LABELS[predictions.truth_labels[row]])}, {what}"
    return WrongFace(
        predictions.paths[predictions.truth_images[row]], predictions.truth_boxes[row], caption
    )


def _largest(chosen: NDArray[np.bool_], by: NDArray[np.float32]) -> list[int]:
    rows = np.flatnonzero(chosen)
    order = np.argsort(-by[rows], kind="stable")
    return [int(row) for row in rows[order[:ERRORS_OF_A_KIND]]]


def thumbnail(error: WrongFace) -> bytes:
    """A JPEG thumbnail of a face for the contact sheet, with a margin and the box drawn.

    Raises:
        SourceError: the photograph cannot be read.
    """
    boxes = error.box[None]
    crop = crop_squares(read_image(error.path), boxes, THUMBNAIL_SIDE, CONTEXT)[0]
    left, top, right, _ = square_slices(boxes, CONTEXT, THUMBNAIL_SIDE)[0]
    scale = THUMBNAIL_SIDE / max(right - left, 1)
    corners = np.rint((error.box - np.array([left, top, left, top])) * scale).astype(int).tolist()
    cv2.rectangle(crop, corners[:2], corners[2:], _COLOUR, 1)
    return bytes(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 80])[1])
