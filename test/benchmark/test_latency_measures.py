# SPDX-License-Identifier: Apache-2.0
"""The numbers of the latency report."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.latency_measures import DROP_LIMIT, fairness, match_frames, percentiles, search_rate

MS = 10**6
NODE_PARTS = ("wait", "inference")


@st.composite
def latency_records(draw):
    """Return stamps, the times when their detections arrived, and the node's latency parts."""
    stamps = sorted(draw(st.sets(st.integers(10**18, 10**18 + 10**12), max_size=20)))
    arrived = draw(st.lists(st.sampled_from(stamps), unique=True)) if stamps else []
    span = st.integers(0, 10**9)
    received = {s: s + draw(span) for s in arrived}
    times = {s: {name: draw(span) for name in NODE_PARTS} for s in arrived}
    return stamps, received, times


@given(latency_records())
def test_the_parts_add_up_to_the_whole(records):
    frames = match_frames(*records)
    if frames.parts:
        assert tuple(frames.parts) == (*NODE_PARTS, "delivery")
        np.testing.assert_allclose(sum(frames.parts.values()), frames.total, atol=1e-6)
        without = frames.total - frames.parts["inference"]
        np.testing.assert_allclose(frames.without_inference, without, atol=1e-6)


@given(latency_records())
def test_every_image_either_comes_through_or_is_lost(records):
    frames = match_frames(*records)
    assert frames.published == len(records[0])
    assert frames.lost == len(records[0]) - len(records[1])
    assert 0 <= frames.drop <= 1


def test_a_node_that_measures_nothing_has_a_total_only():
    frames = match_frames([1 * MS, 5 * MS], {1 * MS: 3 * MS}, {})
    assert (frames.total.tolist(), frames.parts, frames.lost) == ([2.0], {}, 1)
    assert frames.without_inference.tolist() == [2.0]


def test_results_of_other_images_do_not_count():
    """Given results of the warm-up, whose stamps are not among those published."""
    assert match_frames([5 * MS], {1 * MS: 2 * MS}, {}).lost == 1


@given(st.lists(st.floats(0, 1e4), min_size=1))
def test_percentiles_rise_up_to_the_largest(values):
    p = percentiles(np.array(values))
    assert min(values) <= p["p50"] <= p["p90"] <= p["p99"] <= p["max"] == max(values)


def test_of_nothing_there_are_no_percentiles():
    assert all(np.isnan(value) for value in percentiles(np.array([])).values())


@pytest.mark.parametrize("slope", [0.0, 60.0, -30.0])
def test_a_latency_that_grows_shows(slope):
    """Given a minute of images at 10 Hz; the slope is in milliseconds per minute."""
    stamps = [10**18 + i * 100 * MS for i in range(600)]
    received = {s: s + round((40 + slope * i / 600) * MS) for i, s in enumerate(stamps)}
    frames = match_frames(stamps, received, {})
    drift = frames.drift()
    assert drift.slope == pytest.approx(slope, abs=0.1)
    assert drift.error < 0.1
    assert drift.last - drift.first == pytest.approx(slope * 2 / 3, abs=0.2)
    assert frames.received_rate == pytest.approx(10)


def test_three_images_say_nothing_of_growth():
    assert np.isnan(match_frames([1, 2, 3], {1: 2, 2: 3, 3: 4}, {}).drift()).all()


def test_noise_is_told_from_growth_by_the_error_of_the_slope():
    noise = np.random.default_rng(0).normal(100, 20, 60)
    stamps = [10**18 + i * 100 * MS for i in range(60)]
    received = {s: s + round(n * MS) for s, n in zip(stamps, noise, strict=True)}
    drift = match_frames(stamps, received, {}).drift()
    assert 0 < abs(drift.slope) < 3 * drift.error


@given(st.floats(3, 400), st.floats(0.1, 20))
def test_the_search_finds_the_rate_where_frames_begin_to_be_lost(limit, steepness):
    """Given drops that begin at a rate and grow with it; the answer is just below the limit."""

    def drop(rate):
        return 0.0 if rate <= limit else DROP_LIMIT + min(0.9, steepness * (rate / limit - 1))

    found = search_rate(drop, 2.0, 500.0)
    assert drop(found) <= DROP_LIMIT
    assert found <= limit <= found * 1.04


def test_where_nothing_is_lost_the_highest_rate_is_the_answer():
    assert search_rate(lambda rate: 0.0, 2.0, 500.0) == 500.0


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_fairness_is_a_share_and_one_only_among_equals(rates):
    share = fairness(rates)
    assert 0 <= share <= 1
    assert (share == 1) == (max(rates) > 0 and min(rates) == max(rates))


def test_who_gets_nothing_makes_it_unfair():
    assert fairness([10, 0]) == fairness([0, 0]) == 0
