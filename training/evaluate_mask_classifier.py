# SPDX-License-Identifier: Apache-2.0
"""Evaluate a mask classifier: python -m training.evaluate_mask_classifier --data DIR.

Runs the ONNX file on the labelled boxes of the validation split and prints a confusion
matrix, balanced accuracies by size of face, and the calibration error, with 95 % intervals
from a bootstrap over photographs (faces of one photograph are not independent).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.cli.command import run_command
from mask_detector_ros.evaluation.bootstrap import draw_images
from mask_detector_ros.evaluation.report_tables import Table
from mask_detector_ros.evaluation.summary import (
    HEADLINE,
    SIZES,
    classification_figures,
    in_range,
)
from mask_detector_ros.imaging.crops import crop_squares
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.session import Session
from mask_detector_ros.sources import read_image
from training.mask_data import LABELS, FaceRow, read_faces

REPOSITORY = Path(__file__).resolve().parents[1]


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


def classify(session: Session, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, K) probabilities of the mask classifier to evaluate, which takes uint8 crops."""
    (tensor,) = session.inputs
    batches = np.split(crops, range(256, len(crops), 256))
    return np.concatenate([next(iter(session.run(**{tensor.name: b}).values())) for b in batches])


def format_report(session: Session, rows: list[FaceRow], crops: NDArray[np.uint8]) -> str:
    """Format the evaluation of a mask classifier on `rows` as text."""
    probabilities = classify(session, crops).astype(np.float64)
    labels = np.array([row.label for row in rows])
    sides = np.array([row.side for row in rows], np.float32)
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
    figures = {
        name: classification_figures(name, labels[at], probabilities[at], images[at], draws)
        for name, at in subsets.items()
    }
    counts = figures[HEADLINE].confusion
    matrix = [(name, *row) for name, row in zip(LABELS, counts, strict=True)]
    header = ("faces", "count", "binary", "three classes", "calibration error")
    lines = [
        (name, f.faces, f.binary_balanced_accuracy, f.balanced_accuracy, f.calibration_error)
        for name, f in figures.items()
        if f.faces
    ]
    tables = (
        Table(f"faces of {HEADLINE}, true label by row", ("", *LABELS), matrix),
        Table("by the longer side of the box", header, lines),
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
