# SPDX-License-Identifier: Apache-2.0
"""Our detector as a subject, and the matrix product that measures the machine's peak."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .detectors import FACTOR, THRESHOLDS

PACKAGES = ("mask_detector_ros", "openvino")

Call = Callable[[Any], Any]
"""Maps a (H, W, 3) uint8 image to (N, 4) detected boxes, xmin, ymin, xmax, ymax."""


def detector(min_face_size: int, threads: int, backend: str) -> Call:
    """Our subject for detection: our cascade with the public weights, without the classifier,
    which the peers lack."""
    import cv2

    from mask_detector_ros.models import find_detector
    from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
    from mask_detector_ros.mtcnn.loading import load_cascade

    cv2.setNumThreads(threads)
    cascade = load_cascade(find_detector("mtcnn"), backend, threads)
    settings = DetectionSettings(min_face_size, FACTOR, THRESHOLDS, max_faces=0)
    return lambda image: cascade(image, settings).boxes


def labelled(min_face_size: int, threads: int, **parameters: Any) -> Call:
    """Our subject for labelling: our full detector; `parameters` as for `MaskDetector.load`."""
    import cv2

    from mask_detector_ros import MaskDetector

    cv2.setNumThreads(threads)
    find = MaskDetector.load(
        min_face_size=min_face_size, threads=threads, max_faces=0, **parameters
    )
    return lambda image: find(image).boxes


def matrix_product(min_face_size: int, threads: int, side: int) -> Call:
    """Our subject that measures the machine's peak: multiply two square float32 matrices and
    ignore the image."""
    a, b = np.random.default_rng(0).standard_normal((2, side, side), np.float32)
    result = np.empty_like(a)

    def multiply(image: Any) -> Any:
        np.matmul(a, b, out=result)
        return np.empty((0, 4))

    return multiply
