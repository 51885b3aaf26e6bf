# SPDX-License-Identifier: Apache-2.0
"""Check that blurred or pixelated faces stay hidden from another detector.

    python -m benchmark.hidden_faces DATASET YUNET.onnx [--images N] [--threshold T]

Our detector finds the faces of photographs, each method hides them, and YuNet (Wu, Peng, Yu, 2023;
`onnx/yunet_?_dynamic.onnx` of ShiqiYu/libfacedetection.train, MIT) searches the result. You provide
the file; none is shipped here.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mask_detector_ros import MaskDetector
from mask_detector_ros.cli.command import run_command
from mask_detector_ros.evaluation.dataset import read_dataset
from mask_detector_ros.imaging.annotate import hide_faces
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.sources import read_image
from training.peer_detectors import YuNet

WAYS = ("fill", "pixelate", "blur")
MAX_RATIO = 2.0
"""Maximum ratio between the widths of a hidden face and of a face found there: a whole person does
not count."""


def count_found(found: NDArray[np.float32], hidden: NDArray[np.float32]) -> int:
    """Count the (M, 4) hidden boxes that contain the centre of one of the (N, 4) boxes found by
    another detector."""
    centres = (found[:, :2] + found[:, 2:]) / 2
    inside = (centres[None] > hidden[:, None, :2]) & (centres[None] < hidden[:, None, 2:])
    widths = (found[:, 2] - found[:, 0])[None] / np.maximum(hidden[:, 2] - hidden[:, 0], 1)[:, None]
    alike = (widths < MAX_RATIO) & (widths > 1 / MAX_RATIO)
    return int((inside.all(axis=2) & alike).any(axis=1).sum())


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.hidden_faces")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("yunet", type=Path)
    parser.add_argument(
        "--images", type=int, default=250, help="maximum number of photographs, chosen at random"
    )
    parser.add_argument("--threshold", type=float, default=0.5, help="score threshold of YuNet")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Hide the faces of photographs and search them again with another detector; return the exit
    code."""
    images = list(read_dataset(options.dataset, "val").images)
    detector, other = MaskDetector.load(), YuNet(options.yunet, 1)
    np.random.default_rng(0).shuffle(images)
    settings = DetectionSettings(20, 0.709, (0.6, 0.7, options.threshold), 100)
    counts = dict.fromkeys(("faces", "before", *WAYS), 0)
    for labelled in tqdm(images[: options.images], unit="image"):
        image = read_image(labelled.path)
        boxes = detector(image).boxes
        counts["faces"] += len(boxes)
        counts["before"] += count_found(other(image, settings).boxes, boxes)
        for way in WAYS:
            hidden = hide_faces(image, boxes, way)
            counts[way] += count_found(other(hidden, settings).boxes, boxes)
    print(f"{counts['faces']} faces; YuNet found {counts['before']} of them before, and hidden by")
    for way in WAYS:
        print(f"  {way:<10}{counts[way]:>6}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
