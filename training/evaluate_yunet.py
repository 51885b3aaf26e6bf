"""How another detector does on the same data: python -m training.evaluate_yunet YUNET.onnx DATASET.

YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023) is the reference that
the cascade is to beat. Its ONNX files are in the repository ShiqiYu/libfacedetection.train
(`onnx/yunet_n_dynamic.onnx`); none is shipped here. Matching, figures and intervals are those
of `mask-detector evaluate`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.evaluation.dataset import read_dataset
from mask_detector_ros.evaluation.observe import Networks, observe
from mask_detector_ros.evaluation.summary import summarise
from mask_detector_ros.evaluation.tables import short_tables
from mask_detector_ros.faces import Faces
from mask_detector_ros.mtcnn.settings import DetectionSettings
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters

NMS_OVERLAP, CANDIDATES = 0.3, 5000
"""As in OpenCV's own example of the model."""


class YuNet:
    """YuNet in the place of the cascade; of the settings it knows the last threshold."""

    def __init__(self, path: Path) -> None:
        self._network = cv2.FaceDetectorYN.create(
            str(path), "", (320, 320), nms_threshold=NMS_OVERLAP, top_k=CANDIDATES
        )

    def __call__(self, image: NDArray[np.uint8], settings: DetectionSettings) -> Faces:
        self._network.setInputSize(image.shape[1::-1])
        self._network.setScoreThreshold(settings.detection_thresholds[2])
        _, rows = self._network.detect(image)
        if rows is None:
            return Faces.empty()
        rows = rows[np.argsort(-rows[:, 14], kind="stable")].astype(np.float32)
        corners = rows[:, :2]
        boxes = np.concatenate([corners, corners + rows[:, 2:4]], axis=1)
        return Faces(boxes, np.clip(rows[:, 14], 0, 1), rows[:, 4:14].reshape(-1, 5, 2))


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("yunet", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--threshold", type=float, default=0.6, help="score of a detection")
    args = parser.parse_args(argv)
    values = check_parameters(DETECTOR_PARAMETERS, {})
    try:
        dataset = read_dataset(args.dataset, args.split)
        networks = replace(
            Networks.load(values, [values["classifier_model"]]), cascade=YuNet(args.yunet)
        )
    except (MaskDetectorError, cv2.error) as error:
        print(f"evaluate_yunet: {error}", file=sys.stderr)
        return 1
    thresholds = (*networks.settings.detection_thresholds[:2], args.threshold)
    settings = replace(networks.settings, detection_thresholds=thresholds)
    seen = observe(tqdm(dataset.images, "run"), replace(networks, settings=settings))
    for table in short_tables(summarise(seen)):
        print(f"\n{table.to_text()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
