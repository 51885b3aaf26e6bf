# SPDX-License-Identifier: Apache-2.0
"""The figures of the comparison with peers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.speed.report_measures import (
    agreement,
    fit_line,
    ratio,
    ratio_quartiles,
    spread,
)

BOX = [10.0, 10.0, 50.0, 60.0]


def boxes(*rows):
    return np.array(rows, float).reshape(-1, 4)


@given(st.floats(0.01, 100), st.integers(1, 5), st.integers(1, 5))
def test_a_peer_that_takes_k_times_as_long_has_the_ratio_k(factor, rounds, frames):
    ours = np.random.default_rng(0).uniform(0.01, 0.1, (rounds, frames))
    assert ratio(ours, factor * ours) == pytest.approx(factor)


def test_the_ratio_is_inverted_when_the_subjects_are_exchanged():
    a, b = np.random.default_rng(1).uniform(0.01, 0.1, (2, 5, 4))
    assert ratio(a, b) == pytest.approx(1 / ratio(b, a))


def test_one_interrupted_call_does_not_move_the_ratio():
    ours = np.full((5, 3), 0.02)
    theirs = np.full((5, 3), 0.04)
    ours[2, 1] = 9.0
    assert ratio(ours, theirs) == pytest.approx(2)


def test_the_spread_is_in_milliseconds():
    assert spread(np.array([[0.001, 0.002], [0.003, 0.004]])) == pytest.approx((2.5, 1.75, 3.25))


def test_equal_boxes_agree_fully_and_distant_ones_not_at_all():
    far = [200.0, 10.0, 240.0, 60.0]
    assert agreement([boxes(BOX)], [boxes(BOX)]) == 1
    assert agreement([boxes(BOX)], [boxes(far)]) == 0


def test_a_box_that_only_one_finds_lowers_the_agreement():
    assert agreement([boxes(BOX)], [boxes(BOX, [200, 10, 240, 60])]) == pytest.approx(2 / 3)


def test_a_box_can_be_the_partner_of_one_only():
    assert agreement([boxes(BOX)], [boxes(BOX, BOX)]) == pytest.approx(2 / 3)


def test_two_who_find_nothing_agree():
    assert agreement([boxes()], [boxes()]) == 1


@given(st.floats(-5, 5), st.floats(-50, 50), st.integers(2, 9))
def test_points_on_a_line_give_the_line_back(slope, intercept, count):
    x = np.arange(count, dtype=float)
    found = fit_line(x, slope * x + intercept)
    assert found[:2] == pytest.approx((slope, intercept), abs=1e-6)


def test_what_a_line_does_not_explain_lowers_r2():
    assert fit_line([0, 1, 2], [0, 1, 2])[2] == pytest.approx(1)
    assert fit_line([0, 0, 1, 1], [0, 2, 0, 2])[2] == pytest.approx(0)
    assert fit_line([0, 1], [3, 3])[2] == 1


@given(st.floats(0.1, 10))
def test_the_quartiles_of_a_constant_ratio_are_the_ratio(factor):
    ours = np.random.default_rng(2).uniform(0.01, 0.1, (4, 3))
    assert ratio_quartiles(ours, factor * ours) == pytest.approx((factor, factor))


def test_the_quartiles_spread_as_the_rounds_do():
    ours = np.ones((5, 2))
    theirs = np.arange(1.0, 6.0)[:, None] * ours
    assert ratio_quartiles(ours, theirs) == pytest.approx((2, 4))
