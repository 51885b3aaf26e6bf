# SPDX-License-Identifier: Apache-2.0
"""Whole images are scaled."""

import numpy as np
import pytest

from mask_detector_ros.imaging.scaling import letterbox, reduce_image


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        ((400, 300), 0.03, (200, 150)),
        ((300, 400), 0.03, (150, 200)),
    ],
)
def test_a_large_image_is_reduced_in_its_shape(size, limit, expected):
    image = np.full((size[1], size[0], 3), 7, np.uint8)
    reduced = reduce_image(image, limit)
    assert (reduced.shape[1], reduced.shape[0]) == expected
    assert (reduced == 7).all()


@pytest.mark.parametrize("limit", [0.0, 0.12, 8.3])
def test_an_image_within_the_limit_is_itself(limit):
    image = np.zeros((300, 400, 3), np.uint8)
    assert reduce_image(image, limit) is image


def test_an_image_is_fitted_between_black_borders():
    fitted = letterbox(np.full((10, 40, 3), 200, np.uint8), (80, 60))
    assert fitted.shape == (60, 80, 3)
    assert (fitted[:20] == 0).all()
    assert (fitted[20:40] == 200).all()
