"""The parts of an image's way add up to its latency."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.result_messages import LATENCY_PARTS
from mask_detector_ros.ros.latency import LatencyBreakdown, find_clock_fault


@given(st.integers(-(10**18), 10**18))
def test_the_latency_is_the_sum_of_the_parts(transport: int) -> None:
    breakdown = LatencyBreakdown(transport)
    for part in LATENCY_PARTS[1:]:
        breakdown.end(part)
    assert tuple(breakdown.parts) == LATENCY_PARTS
    assert breakdown.latency == sum(breakdown.parts.values())
    assert all(breakdown.parts[part] >= 0 for part in LATENCY_PARTS[1:])


def test_an_image_has_spent_no_time_but_that_of_its_way_when_it_comes() -> None:
    assert LatencyBreakdown(5).latency == 5


SECOND = 10**9
NOW = 1_800_000_000 * SECOND


@pytest.mark.parametrize(
    ("stamp", "now", "cause"),
    [
        (0, NOW, "stamps are zero"),
        (NOW + 3600 * SECOND, NOW, "stamps are 3.6e+03 s ahead"),
        (NOW + SECOND // 5, NOW, "stamps are 0.2 s ahead"),
        (NOW - 3600 * SECOND, NOW, "stamps are 3600 s behind"),
        (SECOND, NOW, "stamps are 1799999999 s behind"),
        (NOW, 0, "use_sim_time is true, but no node publishes /clock"),
    ],
)
def test_stamps_that_give_no_latency_have_a_cause(stamp: int, now: int, cause: str) -> None:
    assert cause in find_clock_fault(stamp, now)


@pytest.mark.parametrize("milliseconds", [-50, 0, 20, 5000])
def test_two_good_clocks_and_a_slow_camera_are_no_fault(milliseconds: int) -> None:
    assert find_clock_fault(NOW - milliseconds * 10**6, NOW) == ""
