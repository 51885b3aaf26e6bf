"""What diagnostics make of the frames."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from diagnostic_msgs.msg import DiagnosticStatus

from mask_detector_ros.result_messages import LATENCY_PARTS
from mask_detector_ros.ros.diagnostics import FrameStatistics
from mask_detector_ros.ros.latency import LatencyBreakdown


def breakdown(milliseconds: int) -> LatencyBreakdown:
    """One that took so long on the way to the node, and no time in it."""
    breakdown = LatencyBreakdown(0)
    breakdown.parts = {**dict.fromkeys(LATENCY_PARTS, 0), "transport": milliseconds * 10**6}
    return breakdown


def test_all_is_well_while_frames_come() -> None:
    statistics = FrameStatistics()
    for milliseconds in range(1, 101):
        statistics.image_received(replaced=milliseconds % 10 == 0)
        statistics.frame_processed(breakdown(milliseconds))
    level, text, values = statistics.status(image_timeout=60.0)
    assert (level, text) == (DiagnosticStatus.OK, "running")
    assert values["frames processed"] == "100"
    assert values["frames dropped"] == "10"
    assert values["latency p50 [ms]"] == "51.0"
    assert values["latency p99 [ms]"] == "100.0"
    assert values["transport p50 [ms]"] == "51.0"
    assert values["wait p50 [ms]"] == "0.0"


def test_before_the_first_frame_there_are_no_times() -> None:
    level, _, values = FrameStatistics().status(image_timeout=60.0)
    assert level == DiagnosticStatus.OK
    assert values["latency p50 [ms]"] == "none"
    assert values["rate [Hz]"] == "0.0"


def test_a_refused_frame_is_a_warning_with_its_reason() -> None:
    statistics = FrameStatistics()
    statistics.image_received(replaced=False)
    statistics.frame_processed(breakdown(100))
    statistics.frame_refused("unknown encoding")
    level, text, values = statistics.status(image_timeout=60.0)
    assert level == DiagnosticStatus.WARN
    assert "unknown encoding" in text
    assert values["frames refused"] == "1"


def test_silence_is_a_warning() -> None:
    level, text, _ = FrameStatistics().status(image_timeout=0.0)
    assert level == DiagnosticStatus.WARN
    assert "no image" in text


def test_it_is_an_error_when_no_frame_can_be_used() -> None:
    statistics = FrameStatistics()
    statistics.image_received(replaced=False)
    statistics.frame_refused("unknown encoding")
    level, text, _ = statistics.status(image_timeout=60.0)
    assert level == DiagnosticStatus.ERROR
    assert text == "no frame can be used: unknown encoding"
