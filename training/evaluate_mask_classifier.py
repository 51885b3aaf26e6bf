# SPDX-License-Identifier: Apache-2.0
"""Evaluate a mask classifier: python -m training.evaluate_mask_classifier --data DIR.

Runs the ONNX file on the labelled boxes of the validation split and prints a confusion
matrix, balanced accuracies by size of face, and the calibration error, with 95 % intervals
from a bootstrap over photographs (faces of one photograph are not independent).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.cli.command import run_command
from mask_detector_ros.evaluation import metrics
from mask_detector_ros.evaluation.bootstrap import draw_images, estimate
from mask_detector_ros.evaluation.report_tables import Table
from mask_detector_ros.evaluation.summary import HEADLINE, SIZES, in_range
from mask_detector_ros.imaging.crops import crop_squares
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.session import Session
from mask_detector_ros.sources import read_image
from training.mask_data import LABELS, FaceRow, read_faces

REPOSITORY = Path(__file__).resolve().parents[1]

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]
Metric = Callable[[Labels, Probabilities, metrics.Weights], metrics.Values]
"""A figure for each row of (R, N) weights of the N faces."""


def evaluation_crops(rows: list[FaceRow], size: int, margin: float) -> NDArray[np.uint8]:
    """(N, size, size, 3) crops of labelled boxes to evaluate the mask classifier on, as the library
    cuts them.

    A photograph that is itself a crop has no context to add: it is cut without margin.
    """
    crops = np.empty((len(rows), size, size, 3), np.uint8)
    images: dict[Path, NDArray[np.uint8]] = {}
    for index, row in enumerate(rows):
        if row.image not in images:
            images = {row.image: read_image(row.image)}
        own_margin = 0.0 if row.is_whole_image else margin
        crops[index] = crop_squares(images[row.image], row.box[None], size, own_margin)[0]
    return crops


def three_classes(
    labels: Labels, probabilities: Probabilities, weights: metrics.Weights
) -> metrics.Values:
    """Score of the mask classifier with three classes: balanced accuracy."""
    return metrics.balanced_accuracy(labels, probabilities.argmax(axis=1), weights)


def mask_or_bare(
    labels: Labels, probabilities: Probabilities, weights: metrics.Weights
) -> metrics.Values:
    """Score of the mask classifier with two classes: balanced accuracy on their faces."""
    rows = labels < 2
    return three_classes(labels[rows], probabilities[rows, :2], weights[:, rows])


def calibration_error(
    labels: Labels, probabilities: Probabilities, weights: metrics.Weights
) -> metrics.Values:
    """Expected calibration error of the evaluated mask classifier's most probable label."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    return metrics.calibration_error(confidence, probabilities.argmax(axis=1) == labels, weights)


def classify(session: Session, crops: NDArray[np.uint8]) -> Probabilities:
    """(N, K) probabilities of the mask classifier to evaluate, which takes uint8 crops."""
    (tensor,) = session.inputs
    batches = np.split(crops, range(256, len(crops), 256))
    return np.concatenate([next(iter(session.run(**{tensor.name: b}).values())) for b in batches])


def format_report(session: Session, rows: list[FaceRow], crops: NDArray[np.uint8]) -> str:
    """Format the evaluation of a mask classifier on `rows` as text."""
    probabilities = classify(session, crops)
    labels = np.array([row.label for row in rows])
    sides = np.array([row.side for row in rows])
    suspect = np.array([row.suspect for row in rows])
    whole = np.array([row.is_whole_image for row in rows])
    _, images = np.unique([str(row.image) for row in rows], return_inverse=True)
    large = in_range(sides, HEADLINE)
    subsets = {size: in_range(sides, size) for size in SIZES}
    subsets |= {
        "without suspect rows": large & ~suspect,
        "without whole-image rows": large & ~whole,
    }
    draws = draw_images(images.max() + 1)

    def figure(metric: Metric, rows: NDArray[np.bool_]) -> str:
        def weigh(weights: metrics.Weights) -> metrics.Values:
            return metric(labels[rows], probabilities[rows], weights[:, images[rows]])

        return str(estimate(weigh, draws))

    figures = {"binary": mask_or_bare, "three classes": three_classes}
    figures["calibration error"] = calibration_error
    lines = [
        (name, str(chosen.sum()), *(figure(metric, chosen) for metric in figures.values()))
        for name, chosen in subsets.items()
        if chosen.any()
    ]
    predicted = probabilities[large].argmax(axis=1)
    counts = metrics.confusion_matrix(labels[large], predicted, len(LABELS))
    matrix = [(name, *map(str, row)) for name, row in zip(LABELS, counts, strict=True)]
    tables = (
        Table(f"faces of {HEADLINE}, true label by row", ("", *LABELS), matrix),
        Table("by the longer side of the box", ("faces", "count", *figures), lines),
    )
    return "\n\n".join(table.to_text() for table in tables)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with labels.csv and images/"
    )
    parser.add_argument(
        "--model", type=Path, default=REPOSITORY / "models" / "mask_classifier.onnx"
    )
    args = parser.parse_args(argv)

    def report() -> int:
        rows = read_faces(args.data, "val")
        session = create_session(args.model.read_bytes(), args.model.name, "onnxruntime")
        if tuple(json.loads(session.metadata["labels"])) != LABELS:
            parser.error(f"{args.model} has labels {session.metadata['labels']}, the data {LABELS}")
        size, margin = session.inputs[0].shape[1], float(session.metadata["margin"])
        print(format_report(session, rows, evaluation_crops(rows, size, margin)))
        return 0

    return run_command(report)


if __name__ == "__main__":
    sys.exit(main())
