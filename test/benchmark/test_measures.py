"""The numbers of the comparison with peers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.measures import agreement, ratio, spread

BOX = [10.0, 10.0, 50.0, 60.0]


def boxes(*rows):
    return np.array(rows, float).reshape(-1, 4)


@given(st.floats(0.01, 100), st.integers(1, 5), st.integers(1, 5))
def test_a_peer_that_takes_k_times_as_long_has_the_ratio_k(factor, rounds, frames):
    ours = np.random.default_rng(0).uniform(0.01, 0.1, (rounds, frames))
    assert ratio(ours, factor * ours) == pytest.approx(factor)


def test_the_ratio_turns_round_when_the_contestants_do():
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
