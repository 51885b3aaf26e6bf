"""The parts of an image's way add up to its latency."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.result_messages import LATENCY_PARTS
from mask_detector_ros.ros.latency import LatencyBreakdown


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
