# SPDX-License-Identifier: Apache-2.0
"""Random augmentations of a face keep its label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.mask_augmentation import (
    INCORRECTLY,
    WITH_MASK,
    WITHOUT_MASK,
    jitter_box,
    training_crop,
)
from training.mask_data import FacePatch

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
BOX = np.array([20, 15, 60, 70], np.float32)


def crop_of(label: int, seed: int, share: float = 0.0, is_whole_image: bool = False):
    patch = FacePatch(PIXELS, BOX, label, is_whole_image)
    rng = np.random.default_rng(seed)
    return training_crop(patch, rng, size=96, margin=0.25, synthetic_mask_share=share)


@given(st.integers(0, 2**32), st.sampled_from([0, 1, 2]), st.booleans())
def test_a_crop_has_the_size_asked_for_and_keeps_its_label(seed, label, is_whole_image):
    crop, kept = crop_of(label, seed, is_whole_image=is_whole_image)
    assert crop.shape == (96, 96, 3)
    assert crop.dtype == np.uint8
    assert kept == label


def test_the_same_chance_gives_the_same_crop():
    np.testing.assert_array_equal(crop_of(WITH_MASK, 7)[0], crop_of(WITH_MASK, 7)[0])


def test_a_bare_face_with_a_painted_mask_gets_the_label_of_the_mask():
    labels = {crop_of(WITHOUT_MASK, seed, share=1.0)[1] for seed in range(30)}
    assert labels == {WITH_MASK, INCORRECTLY}


@pytest.mark.parametrize("label", [WITH_MASK, INCORRECTLY])
def test_a_masked_face_gets_no_second_mask(label):
    assert {crop_of(label, seed, share=1.0)[1] for seed in range(30)} == {label}


def test_jittered_boxes_stay_centred_on_the_label_on_average():
    rng = np.random.default_rng(0)
    boxes = np.stack([jitter_box(BOX, rng) for _ in range(2000)])
    np.testing.assert_allclose(boxes.mean(axis=0), BOX, atol=1.0)
    assert (boxes[:, 2:] > boxes[:, :2]).all()
