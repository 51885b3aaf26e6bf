# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals over images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_detector_ros.evaluation.bootstrap import Estimate, draw_images, estimate
from mask_detector_ros.evaluation.metrics import mean


def test_every_draw_has_as_many_images_as_there_are():
    draws = draw_images(30, rounds=200)
    assert draws.shape == (200, 30)
    assert (draws.sum(axis=1) == 30).all()


def test_the_draws_are_the_same_each_time_and_others_with_another_seed():
    assert (draw_images(20) == draw_images(20)).all()
    assert (draw_images(20) != draw_images(20, seed=1)).any()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=30)
def test_an_estimate_holds_the_value_itself_and_an_interval_within_the_values(values):
    array = np.array(values)
    got = estimate(lambda weights: mean(array, weights), draw_images(len(values), 250))
    assert got.value == pytest.approx(array.mean())
    assert array.min() - 1e-9 <= got.low <= got.high <= array.max() + 1e-9


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(3).normal(size=2000)
    got = estimate(lambda weights: mean(values, weights), draw_images(2000))
    reach = 1.96 * values.std() / np.sqrt(2000)
    assert got.high - got.low == pytest.approx(2 * reach, rel=0.1)


def test_faces_of_one_image_are_drawn_together():
    # Two images, each all right or all wrong: a draw has 0, half or all of them right.
    faces_of_image = np.repeat([0, 1], 50)
    right = faces_of_image == 0
    predictions = []

    def share(weights):
        predictions.extend(mean(right, weights[:, faces_of_image]).tolist())
        return mean(right, weights[:, faces_of_image])

    estimate(share, draw_images(2, 100))
    assert set(predictions) == {0.0, 0.5, 1.0}


def test_draws_that_have_nothing_to_count_are_left_out():
    rare = np.array([0])  # its only face is in image 0 of 3
    got = estimate(lambda weights: mean(np.ones(1), weights[:, rare]), draw_images(3))
    assert got == Estimate(1, 1, 1)


def test_nothing_to_count_at_all_is_shown_as_a_dash():
    got = estimate(lambda weights: np.full(len(weights), np.nan), draw_images(3))
    assert np.isnan([got.value, got.low, got.high]).all()
    assert str(got) == "-"
    assert str(Estimate(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
