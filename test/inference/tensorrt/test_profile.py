# SPDX-License-Identifier: Apache-2.0
"""The shapes that an engine is built for, padded to, and compared at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros import classifier
from mask_detector_ros.inference.session import GPU_BATCH, TensorInfo
from mask_detector_ros.inference.tensorrt.profile import (
    BATCHES,
    TILE_SIZES,
    fill_up,
    fits,
    make_profile,
    parity_shapes,
)
from mask_detector_ros.mtcnn import pnet_pyramid

FLOAT = np.dtype(np.float32)
CROPS = TensorInfo("crops", FLOAT, (-1, 96, 96, 3))
IMAGES = TensorInfo("images", FLOAT, (-1, 3, -1, -1))
FIXED = TensorInfo("image", np.dtype(np.uint8), (480, 640, 3))
PROFILE = make_profile([CROPS])


def test_batches_reach_as_far_as_the_stages_send_them():
    assert BATCHES[2] == max(classifier.BATCH_LIMIT, GPU_BATCH)
    assert TILE_SIZES[0] == (pnet_pyramid.WINDOW, pnet_pyramid.WINDOW)
    assert TILE_SIZES[2] == (pnet_pyramid.MAX_TILE_ROWS, pnet_pyramid.MAX_TILE_COLUMNS)
    for sides in ((480, 640), (1080, 1920), (1920, 1080), (2160, 3840)):
        for canvas in pnet_pyramid.lay_out(pnet_pyramid.pyramid_shapes(*sides, 20, 0.709)):
            assert canvas.width <= TILE_SIZES[2][1]


@pytest.mark.parametrize(
    ("tensor", "shapes"),
    [
        (CROPS, ((1, 96, 96, 3), (8, 96, 96, 3), (128, 96, 96, 3))),
        (IMAGES, ((1, 3, 12, 12), (1, 3, 144, 640), (1, 3, 256, 2560))),
    ],
)
def test_free_dimensions_get_a_range(tensor, shapes):
    assert make_profile([tensor]) == {tensor.name: shapes}


def test_without_free_dimensions_there_is_no_profile():
    assert make_profile([FIXED]) == {}
    assert fits({"image": np.empty(FIXED.shape)}, {})
    assert fill_up(FIXED.shape, None) == FIXED.shape
    assert parity_shapes([FIXED], {}) == [{"image": (480, 640, 3)}]


@given(batch=st.integers(0, 128))
def test_batches_are_filled_up_to_powers_of_two_within_the_profile(batch):
    filled, *rest = fill_up((batch, 96, 96, 3), PROFILE["crops"])
    assert rest == [96, 96, 3]
    assert max(batch, 1) <= filled <= 128
    assert filled & (filled - 1) == 0
    assert filled < 2 * max(batch, 1)


@pytest.mark.parametrize(("batch", "ok"), [(0, True), (1, True), (128, True), (129, False)])
def test_what_lies_outside_the_profile_is_seen(batch, ok):
    assert fits({"crops": np.empty((batch, 96, 96, 3))}, PROFILE) is ok


def test_parity_is_measured_at_the_ends_between_and_after_a_batch_of_one():
    batches = [step["crops"][0] for step in parity_shapes([CROPS], PROFILE)]
    assert batches == [8, 1, 3, 17, 128, 1]
    sides = [step["images"][2:] for step in parity_shapes([IMAGES], make_profile([IMAGES]))]
    assert sides == [(144, 640), (12, 12), (97, 131)]
