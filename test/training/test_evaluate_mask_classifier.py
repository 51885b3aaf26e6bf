# SPDX-License-Identifier: Apache-2.0
"""The figures that evaluate a mask classifier."""

from pathlib import Path

import numpy as np
import pytest

from mask_detector_ros.inference import create_session
from mask_detector_ros.models import SHIPPED_CLASSIFIER, find_classifier
from training.evaluate_mask_classifier import (
    calibration_error,
    format_report,
    mask_or_bare,
    three_classes,
)
from training.mask_data import FaceRow


def value(metric, labels, probabilities):
    return metric(labels, probabilities, np.ones((1, len(labels))))[0]


def one_hot(predicted, confidence=1.0):
    rest = (1 - confidence) / 2
    return np.where(np.eye(3)[predicted] == 1, confidence, rest).astype(np.float32)


def test_balanced_accuracy_weighs_a_rare_class_like_a_common_one():
    labels = np.array([0] * 98 + [1] + [2])
    predicted = np.array([0] * 98 + [0] + [2])
    assert value(three_classes, labels, one_hot(predicted)) == pytest.approx(2 / 3)


def test_the_binary_figure_looks_at_masked_and_bare_faces_only():
    labels = np.array([0, 1, 2])
    probabilities = np.array([[0.3, 0.1, 0.6], [0.1, 0.3, 0.6], [0.9, 0.1, 0.0]], np.float32)
    assert value(mask_or_bare, labels, probabilities) == 1.0


def test_confidence_equal_to_accuracy_has_no_calibration_error():
    labels = np.array([0, 0, 0, 0, 1])
    assert value(calibration_error, labels, one_hot([0] * 5, 0.8)) == pytest.approx(0.0, abs=1e-6)


def test_certainty_that_is_always_wrong_has_the_full_calibration_error():
    assert value(calibration_error, np.array([1, 1]), one_hot([0, 0])) == pytest.approx(1.0)


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
