# SPDX-License-Identifier: Apache-2.0
"""The parts of an image's latency add up."""

from __future__ import annotations

import time

import pytest

from mask_detector_ros.result_messages import LATENCY_PARTS
from mask_detector_ros.ros.latency_breakdown import LatencyBreakdown, find_clock_fault


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time of the steady clock in nanoseconds: the last entry."""
    shown = [1000]
    monkeypatch.setattr(time, "monotonic_ns", lambda: shown[-1])
    return shown


def test_each_part_is_the_time_since_the_last_one_ended(clock: list[int]) -> None:
    breakdown = LatencyBreakdown(5)
    expected = {"transport": 5}
    for number, part in enumerate(LATENCY_PARTS[1:], start=1):
        clock.append(clock[-1] + 10 * number)
        breakdown.end(part)
        expected[part] = 10 * number
    assert breakdown.parts == expected
    assert tuple(breakdown.parts) == LATENCY_PARTS
    assert breakdown.latency == 5 + 10 * sum(range(1, len(LATENCY_PARTS)))


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


def test_an_image_that_comes_from_another_clock_may_have_a_negative_latency(
    clock: list[int],
) -> None:
    breakdown = LatencyBreakdown(-(10**9))
    clock.append(clock[-1] + 7)
    breakdown.end("wait")
    assert breakdown.latency == 7 - 10**9
