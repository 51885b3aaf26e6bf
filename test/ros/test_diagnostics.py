# SPDX-License-Identifier: Apache-2.0
"""Diagnostics computed from frames."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from diagnostic_msgs.msg import DiagnosticStatus

from mask_detector_ros.result_messages import LATENCY_PARTS
from mask_detector_ros.ros.diagnostics import FrameStatistics
from mask_detector_ros.ros.latency_breakdown import LatencyBreakdown, find_clock_fault


def breakdown(milliseconds: int) -> LatencyBreakdown:
    """A latency breakdown with this much transport time, and nothing else."""
    breakdown = LatencyBreakdown(0)
    breakdown.parts = {**dict.fromkeys(LATENCY_PARTS, 0), "transport": milliseconds * 10**6}
    return breakdown


def test_all_is_well_while_frames_come() -> None:
    statistics = FrameStatistics()
    for milliseconds in range(1, 101):
        statistics.image_received(replaced=milliseconds % 10 == 0)
        statistics.frame_processed(breakdown(milliseconds))
    level, text, values = statistics.status(image_timeout=60.0, frame_timeout=5.0)
    assert (level, text) == (DiagnosticStatus.OK, "running")
    assert values["frames processed"] == "100"
    assert values["frames dropped"] == "10"
    assert values["latency p50 [ms]"] == "51.0"
    assert values["latency p99 [ms]"] == "100.0"
    assert values["transport p50 [ms]"] == "51.0"
    assert values["wait p50 [ms]"] == "0.0"


def test_before_the_first_frame_there_are_no_times() -> None:
    level, _, values = FrameStatistics().status(image_timeout=60.0, frame_timeout=5.0)
    assert level == DiagnosticStatus.OK
    assert values["latency p50 [ms]"] == "none"
    assert values["rate [Hz]"] == "0.0"


def test_a_refused_frame_is_a_warning_with_its_reason() -> None:
    statistics = FrameStatistics()
    statistics.image_received(replaced=False)
    statistics.frame_processed(breakdown(100))
    statistics.frame_rejected("unknown encoding")
    level, text, values = statistics.status(image_timeout=60.0, frame_timeout=5.0)
    assert level == DiagnosticStatus.WARN
    assert "unknown encoding" in text
    assert values["frames rejected"] == "1"


def test_a_latency_that_is_none_is_a_warning_with_its_cause() -> None:
    statistics = FrameStatistics()
    absurd = breakdown(10**12)
    absurd.clock_fault = fault = find_clock_fault(stamp=0, now=10**18)
    statistics.frame_processed(absurd)
    level, text, _ = statistics.status(60.0, 60.0)
    assert (level, text) == (DiagnosticStatus.WARN, fault)
    statistics.frame_processed(breakdown(5))
    assert statistics.status(60.0, 60.0)[:2] == (DiagnosticStatus.OK, "running")


def test_silence_is_a_warning() -> None:
    level, text, _ = FrameStatistics().status(image_timeout=0.0, frame_timeout=5.0)
    assert level == DiagnosticStatus.WARN
    assert "no image" in text


def test_it_is_an_error_when_no_frame_can_be_used() -> None:
    statistics = FrameStatistics()
    statistics.image_received(replaced=False)
    statistics.frame_rejected("unknown encoding")
    level, text, _ = statistics.status(image_timeout=60.0, frame_timeout=5.0)
    assert level == DiagnosticStatus.ERROR
    assert text == "no frame can be used: unknown encoding"


def test_a_rate_of_zero_is_never_ok_while_images_arrive() -> None:
    statistics = FrameStatistics()
    statistics.image_received(replaced=False)
    level, text, values = statistics.status(image_timeout=60.0, frame_timeout=5.0)
    assert (values["rate [Hz]"], level) == ("0.0", DiagnosticStatus.WARN)
    assert text == "no frame processed for 0 s while images arrive"
    level, _, _ = statistics.status(image_timeout=60.0, frame_timeout=0.0)
    assert level == DiagnosticStatus.ERROR
    statistics.frame_processed(breakdown(1))
    level, text, _ = statistics.status(image_timeout=60.0, frame_timeout=0.0)
    assert (level, text) == (DiagnosticStatus.OK, "running")


def test_frames_that_fail_in_a_row_are_an_error() -> None:
    statistics = FrameStatistics()
    for count in range(1, 5):
        statistics.image_received(replaced=False)
        statistics.frame_failed("MemoryError: ")
        level, text, _ = statistics.status(image_timeout=60.0, frame_timeout=5.0)
        assert level == (DiagnosticStatus.WARN if count < 3 else DiagnosticStatus.ERROR)
    assert text == "the last 4 frames failed: MemoryError: "
    statistics.frame_processed(breakdown(1))
    level, text, _ = statistics.status(image_timeout=60.0, frame_timeout=5.0)
    assert (level, text) == (DiagnosticStatus.WARN, "a frame failed: MemoryError: ")


def test_a_frame_over_budget_is_a_warning_and_counted() -> None:
    statistics = FrameStatistics()
    statistics.image_received(replaced=False)
    statistics.frame_over_budget("frame over budget: kept 500 of 22,570 candidates")
    statistics.frame_processed(breakdown(1))
    level, text, values = statistics.status(image_timeout=60.0, frame_timeout=5.0)
    assert (level, values["frames over budget"]) == (DiagnosticStatus.WARN, "1")
    assert text == "frame over budget: kept 500 of 22,570 candidates"
