# SPDX-License-Identifier: Apache-2.0
"""The figures that evaluate a mask classifier."""

from pathlib import Path

import numpy as np

from mask_detector_ros.inference import create_session
from mask_detector_ros.models import SHIPPED_CLASSIFIER, find_classifier
from training.evaluate_mask_classifier import format_report
from training.mask_data import FaceRow


def test_the_report_counts_by_size_and_leaves_out_suspect_rows():
    classifier = create_session(find_classifier(SHIPPED_CLASSIFIER), "classifier", "onnxruntime")
    rows = [
        FaceRow(Path(f"{i}.jpg"), np.float32([0, 0, side, side]), i % 3, "some", i == 0, False)
        for i, side in enumerate((20, 30, 60, 60, 200, 200))
    ]
    crops = np.zeros((len(rows), 96, 96, 3), np.uint8)
    lines = dict(line.split("  ", 1) for line in format_report(classifier, rows, crops).splitlines()
                 if "  " in line)  # fmt: skip
    assert lines["24 px and more"].split()[0] == "5"
    assert lines["without suspect rows"].split()[0] == "5"
    assert lines["48 to 96 px"].split()[0] == "2"
    assert lines["under 24 px"].split()[0] == "1"
