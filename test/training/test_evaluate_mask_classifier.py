# SPDX-License-Identifier: Apache-2.0
"""The figures that judge a mask classifier."""

import numpy as np
import pytest

from training.evaluate_mask_classifier import (
    binary,
    bootstrap_interval,
    calibration_error,
    three_class,
)


def one_hot(predicted, confidence=1.0):
    rest = (1 - confidence) / 2
    return np.where(np.eye(3)[predicted] == 1, confidence, rest).astype(np.float32)


def test_balanced_accuracy_weighs_a_rare_class_like_a_common_one():
    labels = np.array([0] * 98 + [1] + [2])
    predicted = np.array([0] * 98 + [0] + [2])
    assert three_class(labels, one_hot(predicted)) == pytest.approx(2 / 3)


def test_the_binary_figure_looks_at_masked_and_bare_faces_only():
    labels = np.array([0, 1, 2])
    probabilities = np.array([[0.3, 0.1, 0.6], [0.1, 0.3, 0.6], [0.9, 0.1, 0.0]], np.float32)
    assert binary(labels, probabilities) == 1.0


def test_confidence_equal_to_accuracy_has_no_calibration_error():
    labels = np.array([0, 0, 0, 0, 1])
    assert calibration_error(labels, one_hot([0] * 5, 0.8)) == pytest.approx(0.0, abs=1e-6)


def test_certainty_that_is_always_wrong_has_the_full_calibration_error():
    assert calibration_error(np.array([1, 1]), one_hot([0, 0])) == pytest.approx(1.0)


def test_the_interval_holds_the_figure_and_is_wider_when_faces_share_photographs():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 3, 30), 5)
    predicted = np.where(np.repeat(rng.random(30) < 0.8, 5), labels, (labels + 1) % 3)
    probabilities = one_hot(predicted)
    alone = bootstrap_interval(three_class, labels, probabilities, np.arange(150))
    shared = bootstrap_interval(three_class, labels, probabilities, np.arange(150) // 5)
    assert alone[0] < three_class(labels, probabilities) < alone[1]
    assert shared[1] - shared[0] > alone[1] - alone[0]
