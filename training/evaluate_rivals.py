# SPDX-License-Identifier: Apache-2.0
"""Compare with other face detectors: python -m training.evaluate_rivals DATASET --yunet FILE ...

Accuracy uses the matching, figures and intervals of `mask-detector evaluate`. Time is measured on
the data set's photographs at one size, interleaved, so that load slows all detectors alike. You
provide the files; none is shipped here:

    yunet       onnx/yunet_n_dynamic.onnx of ShiqiYu/libfacedetection.train (MIT)
    scrfd       scrfd_500m_kps.onnx or scrfd_2.5g_kps.onnx of insightface (research only)
    ultraface   masked_face/pretrained/RFB-640-masked_face-v2.onnx of
                Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB (MIT)
    aizoo       models/face_mask_detection.pb of AIZOOTech/FaceMaskDetection (MIT), converted:
                python -m convert_to_trt.tensorflow_to_onnx face_mask_detection.pb

Our detectors are timed with labels, the others without, except AIZOO's, which labels faces itself.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mask_detector_ros import MaskDetector
from mask_detector_ros.cli.command import run_command
from mask_detector_ros.evaluation.dataset import LABELS, LabelledImage, read_dataset
from mask_detector_ros.evaluation.matching import MIN_OVERLAP
from mask_detector_ros.evaluation.report_tables import Table, label_words
from mask_detector_ros.evaluation.run_networks import Networks, predict
from mask_detector_ros.evaluation.summary import (
    HEADLINE,
    WANTED_PRECISION,
    Summary,
    found_at_precision,
    summarise,
)
from mask_detector_ros.faces import Faces
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters
from mask_detector_ros.sources import read_image
from training.peer_detectors import PEERS, PeerDetector

TIMED_IMAGES, TIMED_SIZE = 40, (640, 480)

Find = Callable[[NDArray[np.uint8]], Faces]


class PeerLabels:
    """The labels that a peer gives with its detections; it cannot label known boxes."""

    def __init__(self, peer: PeerDetector) -> None:
        self.label_names = peer.label_names

    def __call__(self, image: NDArray[np.uint8], faces: Faces, margin: float) -> Faces:
        if faces.label_names:
            return faces
        none = np.zeros((len(faces), len(self.label_names)), np.float32)
        return faces.with_probabilities(none, self.label_names)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--source", action="append", default=[])
    parser.add_argument("--iou", type=float, default=MIN_OVERLAP)
    parser.add_argument("--ours", action="append", metavar="DETECTOR_MODEL", default=[])
    for name in PEERS:
        parser.add_argument(f"--{name}", type=Path, action="append", metavar="FILE", default=[])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    return run_command(lambda: print_table(args))


def print_table(args: argparse.Namespace) -> int:
    """Evaluate the peer detectors and print a row for each; return the exit code of
    `evaluate_rivals`."""
    dataset = read_dataset(args.dataset, args.split, sources=args.source)
    subjects, times = load_subjects(args)
    images = [image for image in dataset.images if not image.is_whole_image]
    rows = []
    milliseconds = measure_times(times, images)
    for name, networks in subjects.items():
        predictions = predict(tqdm(images, name, leave=False), networks, args.iou)
        # Each at its own threshold: scores of different detectors are not comparable.
        threshold, _ = found_at_precision(predictions, WANTED_PRECISION)
        chosen = predictions if threshold is None else replace(predictions, threshold=threshold)
        rows.append(table_row(name, milliseconds[name], summarise(chosen)))
    faces = sum(len(image.boxes) for image in images)
    title = (
        f"{faces} faces in {len(images)} photographs, IoU {args.iou:g}, {HEADLINE}; time per "
        f"frame of {TIMED_SIZE[0]}x{TIMED_SIZE[1]}, {args.threads} thread(s), interleaved; each "
        f"at its threshold of precision {WANTED_PRECISION:g}"
    )
    found = [f"found, {label_words(label)}" for label in ("all", *LABELS)]
    ends = [f"and labelled right, {label_words(label)}" for label in LABELS]
    header = ("detector", "ms", *found, *ends, "average precision", "false per negative")
    print(Table(title, header, rows).to_text())
    return 0


def load_subjects(args: argparse.Namespace) -> tuple[dict[str, Networks], dict[str, Find]]:
    """Load the peers that `evaluate_rivals` evaluates, and the detectors that it times, by name."""
    default = check_parameters(DETECTOR_PARAMETERS, {"threads": args.threads})
    subjects: dict[str, Networks] = {}
    times: dict[str, Find] = {}
    for model in args.ours or [default["detector_model"]]:
        values = default | {"detector_model": model}
        subjects[model] = Networks.load(values, [values["classifier_model"]])
        times[model] = MaskDetector.load(threads=args.threads, detector_model=model)
    ours = next(iter(subjects.values()))
    timed = replace(ours.settings, detection_thresholds=(0.5, 0.5, 0.5))
    shipped = Networks.load(default | {"detector_model": "mtcnn_masked"}, ["mask_classifier"])
    for kind, load in PEERS.items():
        for path in getattr(args, kind):
            peer = load(path, args.threads)
            name = f"{kind} {path.stem}"
            labels: Any = {name: PeerLabels(peer)} if peer.label_names else shipped.classifiers
            subjects[name] = replace(ours, cascade=peer, classifiers=labels)
            times[name] = partial(peer, settings=timed)
    return subjects, times


def measure_times(subjects: dict[str, Find], images: list[LabelledImage]) -> dict[str, float]:
    """Median milliseconds per frame of our detector and the peers, for the table of
    `evaluate_rivals`, interleaved on each photograph."""
    step = max(1, len(images) // TIMED_IMAGES)
    spent: dict[str, list[float]] = {name: [] for name in subjects}
    for labelled in [images[0], *images[::step]]:
        frame = cv2.resize(read_image(labelled.path), TIMED_SIZE)
        for name, find in subjects.items():
            start = time.perf_counter()
            find(frame)  # type: ignore[arg-type]
            spent[name].append(1e3 * (time.perf_counter() - start))
    # The first run of each is a warm-up.
    return {name: float(np.median(values[1:])) for name, values in spent.items()}


def table_row(name: str, milliseconds: float, summary: Summary) -> tuple[str, ...]:
    """One line of the table that `evaluate_rivals` prints."""
    point, (model,) = summary.at_precision.recall, summary.models.values()
    recalls = [str(point[label]) if point else "-" for label in ("any", *LABELS)]
    (average,) = (
        row.average_precision
        for row in summary.detection
        if (row.size, row.state) == (HEADLINE, "any")
    )
    shares = [str(row.share) for row in model.end_to_end if row.size == HEADLINE]
    false = [str(row.per_image) for row in summary.false_faces[1:]]
    return (name, f"{milliseconds:.1f}", *recalls, *shares, str(average), *(false or ["-"]))


if __name__ == "__main__":
    sys.exit(main())
