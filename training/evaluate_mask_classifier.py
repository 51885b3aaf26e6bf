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
import onnxruntime
from numpy.typing import NDArray

from mask_detector_ros.cli.command import run_command
from mask_detector_ros.imaging.crops import crop_squares
from training.mask_data import LABELS, FaceRow, read_faces, read_image

REPOSITORY = Path(__file__).resolve().parents[1]

MIN_SIDE = 24
"""Smaller faces are left out: their labels are guesses."""

SIZE_RANGES = ((24, 48), (48, 96), (96, float("inf")))
CALIBRATION_BINS = 15
BOOTSTRAP_ROUNDS = 1000

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]
Metric = Callable[[Labels, Probabilities], float]


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


def three_class(labels: Labels, probabilities: Probabilities) -> float:
    """Score of the mask classifier with three classes: balanced accuracy, the mean recall over the
    classes; NaN without a face."""
    if not len(labels):
        return float("nan")
    found = probabilities.argmax(axis=1) == labels
    return float(np.mean([found[labels == label].mean() for label in np.unique(labels)]))


def binary(labels: Labels, probabilities: Probabilities) -> float:
    """Score of the mask classifier with two classes: balanced accuracy of mask against bare face,
    by the more probable of the two, on their rows."""
    rows = labels < 2
    return three_class(labels[rows], probabilities[rows, :2])


def calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Expected calibration error of the mask classifier's most probable label, in bins of equal
    width.

    Naeini et al., 2015; the form of Guo et al., 2017 (https://arxiv.org/abs/1706.04599).
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, correct.astype(float) - confidence)
    return float(np.abs(gaps).sum() / len(labels))


def bootstrap_interval(
    metric: Metric, labels: Labels, probabilities: Probabilities, groups: NDArray[np.int64]
) -> tuple[float, float]:
    """95 % percentile interval of a mask classifier's score by bootstrap over whole groups."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    values = []
    for _ in range(BOOTSTRAP_ROUNDS):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[index] for index in drawn])
        values.append(metric(labels[rows], probabilities[rows]))
    # A draw that misses a rare class gives no value.
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def classify(model: Path, crops: NDArray[np.uint8]) -> Probabilities:
    """(N, K) probabilities of the evaluated mask classifier, which takes uint8 crops."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    batches = np.split(crops, range(256, len(crops), 256))
    return np.concatenate([session.run(None, {name: batch})[0] for batch in batches])


def format_report(model: Path, rows: list[FaceRow], crops: NDArray[np.uint8]) -> str:
    """Format the evaluation of a mask classifier on `rows` as text."""
    probabilities = classify(model, crops)
    labels = np.array([row.label for row in rows])
    sides = np.array([row.side for row in rows])
    suspect = np.array([row.suspect for row in rows])
    whole = np.array([row.is_whole_image for row in rows])
    _, groups = np.unique([str(row.image) for row in rows], return_inverse=True)
    large = sides >= MIN_SIDE

    lines = [f"faces of at least {MIN_SIDE} px (longer side of the box), true label by row:"]
    lines += _confusion(labels[large], probabilities[large].argmax(axis=1))
    subsets = {
        f"all, >= {MIN_SIDE} px": large,
        "without suspect rows": large & ~suspect,
        "without whole-image rows": large & ~whole,
    }
    for low, high in SIZE_RANGES:
        name = f"{low} to {high} px" if np.isfinite(high) else f"{low} px and more"
        subsets[name] = (sides >= low) & (sides < high)
    subsets[f"under {MIN_SIDE} px"] = ~large
    metrics: dict[str, Metric] = {
        "binary": binary,
        "three classes": three_class,
        "calibration error": calibration_error,
    }
    lines += ["", f"{'':26}{'faces':>6}" + "".join(f"{name:>24}" for name in metrics)]
    for name, chosen in subsets.items():
        if not chosen.any():
            continue
        cells = [
            _cell(metric, labels[chosen], probabilities[chosen], groups[chosen])
            for metric in metrics.values()
        ]
        lines.append(f"{name:26}{chosen.sum():6}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def _cell(
    metric: Metric, labels: Labels, probabilities: Probabilities, groups: NDArray[np.int64]
) -> str:
    low, high = bootstrap_interval(metric, labels, probabilities, groups)
    return f"{metric(labels, probabilities):.3f} [{low:.3f}, {high:.3f}]"


def _confusion(labels: Labels, predicted: Labels) -> list[str]:
    lines = [f"{'':24}" + "".join(f"{name:>24}" for name in LABELS)]
    for label, name in enumerate(LABELS):
        counts = np.bincount(predicted[labels == label], minlength=len(LABELS))
        lines.append(f"{name:24}" + "".join(f"{count:24}" for count in counts))
    return lines


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
        metadata = onnxruntime.InferenceSession(args.model).get_modelmeta().custom_metadata_map
        if tuple(json.loads(metadata["labels"])) != LABELS:
            parser.error(f"{args.model} has labels {metadata['labels']}, the data {LABELS}")
        size = onnxruntime.InferenceSession(args.model).get_inputs()[0].shape[1]
        crops = evaluation_crops(rows, size, float(metadata["margin"]))
        print(format_report(args.model, rows, crops))
        return 0

    return run_command(report)


if __name__ == "__main__":
    sys.exit(main())
