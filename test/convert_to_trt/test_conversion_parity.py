# SPDX-License-Identifier: Apache-2.0
"""The difference between an original and its conversion is measured, and a large one rejected."""

import numpy as np
import pytest

from convert_to_trt.conversion_parity import (
    OriginalSession,
    Parity,
    measure_parity,
    random_crops,
    square_crop,
)
from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference import create_session
from mask_detector_ros.models import find_classifier

NO_CROPS = np.empty((0, 96, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def shipped():
    return create_session(find_classifier("mask_classifier"), "mask_classifier", threads=1)


def original(session, change):
    """A session whose probabilities `change` computes from those of `session`."""
    (crops,), (probabilities,) = session.inputs, session.outputs
    return OriginalSession(
        session, lambda batch: change(session.run(**{crops.name: batch})[probabilities.name])
    )


@pytest.fixture(scope="module")
def crops(shipped):
    return random_crops(shipped.inputs[0].shape[1], 11)


def test_a_network_is_equal_to_itself_in_batches_and_alone(shipped, crops):
    parity = measure_parity(original(shipped, lambda p: p), shipped, crops, crops[:2])
    assert (parity.random_crops, parity.face_crops) == (11, 2)
    assert parity.largest < 1e-5
    assert parity.same_label == 1
    parity.require()


def test_a_difference_on_one_label_is_measured_and_refused(shipped, crops):
    shift = np.float32([0.01, 0, 0])
    parity = measure_parity(original(shipped, lambda p: p + shift), shipped, crops, NO_CROPS)
    assert parity.largest == pytest.approx(0.01, abs=1e-4)
    assert parity.mean == pytest.approx(0.01 / 3, abs=1e-4)
    with pytest.raises(
        ModelError, match=r"differs from the original by 0\.01.*nothing was written"
    ):
        parity.require()


def test_a_difference_that_is_no_number_is_refused():
    with pytest.raises(ModelError, match="nan"):
        Parity(float("nan"), 0.0, 1, 0, 1.0).require()


def test_random_crops_are_the_same_each_time():
    np.testing.assert_array_equal(random_crops(16), random_crops(16))
    assert random_crops(16, 5).shape == (5, 16, 16, 3)


def test_a_picture_that_is_not_square_keeps_its_shape():
    crop = square_crop(np.full((60, 120, 3), 255, np.uint8), 32)
    assert crop.shape == (32, 32, 3)
    assert not crop[0].any()
    assert crop[16].all()
