# SPDX-License-Identifier: Apache-2.0
"""The node's `/diagnostics`: levels and texts from its counters."""

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from std_msgs.msg import Header

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.redaction import hide_passwords
from mask_detector_ros.result_messages import LATENCY_PARTS
from mask_detector_ros.ros.distribution import count_nodes_called
from mask_detector_ros.ros.latency_breakdown import LatencyBreakdown
from mask_detector_ros.ros.subscription import STEADY_CLOCK

PERIOD = 1.0
WINDOW = 10.0
WARNING_PERIOD = 5.0
"""Seconds: between two reports; window for rate and latency; between two warnings."""

FAILURES_IN_A_ROW = 3
"""Consecutive failed frames that diagnostics report as an error."""


class FrameStatistics:
    """Counts frames for diagnostics. Thread-safe. Times in seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, LatencyBreakdown]] = deque()
        self._waiting_since: float | None = None
        self.last_image = time.monotonic()
        self.processed = self.dropped = 0
        self.rejected = _Events()
        self.failed = _Events()
        self.over_budget = _Events()
        self._failed_in_a_row = 0

    def image_received(self, replaced: bool) -> None:
        """Count an image that arrived, for diagnostics; `replaced` if it replaced a waiting one."""
        with self._lock:
            self.last_image = time.monotonic()
            self._waiting_since = self._waiting_since or self.last_image
            self.dropped += replaced

    def frame_processed(self, breakdown: LatencyBreakdown) -> None:
        """Count a published frame, for diagnostics."""
        now = time.monotonic()
        with self._lock:
            self.processed += 1
            self._failed_in_a_row = 0
            self._waiting_since = None
            self._recent.append((now, breakdown))
            while self._recent[0][0] < now - WINDOW:
                self._recent.popleft()

    def frame_rejected(self, reason: str) -> None:
        """Count a rejected frame, for diagnostics."""
        with self._lock:
            self.rejected.add(reason)
            self._failed_in_a_row = 0

    def frame_failed(self, reason: str) -> None:
        """Count a frame whose processing failed, for example from lack of memory or a bug, for
        diagnostics."""
        with self._lock:
            self.failed.add(reason)
            self._failed_in_a_row += 1

    def frame_over_budget(self, what: str) -> None:
        """Count a frame with more candidates than `max_candidates`, for diagnostics."""
        with self._lock:
            self.over_budget.add(what)

    def silence(self) -> float:
        """Seconds since the last image, for diagnostics."""
        return time.monotonic() - self.last_image

    def status(
        self, image_timeout: float, frame_timeout: float, stuck: str = ""
    ) -> tuple[bytes, str, dict[str, str]]:
        """Level, message and values of the DiagnosticStatus of a camera's frames.

        Args:
            image_timeout: seconds without an image before a warning.
            frame_timeout: seconds without a result while images arrive before an error.
            stuck: the step in which a frame is stuck, if any.
        """
        now = time.monotonic()
        with self._lock:
            recent = [breakdown for end, breakdown in self._recent if end >= now - WINDOW]
            values = {
                "frames processed": str(self.processed),
                "frames dropped": str(self.dropped),
                "frames rejected": str(self.rejected.count),
                "frames failed": str(self.failed.count),
                "frames over budget": str(self.over_budget.count),
                "rate [Hz]": f"{len(recent) / WINDOW:.1f}",
            }
            level, text = self._judge(now, image_timeout, frame_timeout, stuck, bool(recent))
        for name in ("latency", *LATENCY_PARTS):
            times = sorted(j.latency if name == "latency" else j.parts[name] for j in recent)
            for percent in (50, 99):
                value = times[min(len(times) * percent // 100, len(times) - 1)] if times else None
                shown = "none" if value is None else f"{value / 1e6:.1f}"
                values[f"{name} p{percent} [ms]"] = shown
        return level, text, values

    def _judge(
        self, now: float, image_timeout: float, frame_timeout: float, stuck: str, has_results: bool
    ) -> tuple[bytes, str]:
        ok, warn, error = (getattr(DiagnosticStatus, name) for name in ("OK", "WARN", "ERROR"))
        if stuck:
            return error, stuck
        if self._failed_in_a_row >= FAILURES_IN_A_ROW:
            return error, f"the last {self._failed_in_a_row} frames failed: {self.failed.reason}"
        if now - self.last_image > image_timeout:
            return warn, f"no image for {now - self.last_image:.0f} s"
        if self.rejected.is_recent(now):
            if has_results:
                return warn, f"rejected a frame: {self.rejected.reason}"
            return error, f"no frame can be used: {self.rejected.reason}"
        if self.failed.is_recent(now):
            return warn, f"a frame failed: {self.failed.reason}"
        if not has_results and self._waiting_since is not None:
            waited = now - self._waiting_since
            level = error if waited > frame_timeout else warn
            return level, f"no frame processed for {waited:.0f} s while images arrive"
        if has_results and (fault := self._recent[-1][1].clock_fault):
            return warn, fault
        if self.over_budget.is_recent(now):
            return warn, self.over_budget.reason
        return ok, "running"


class _Events:
    """How often something happened, and the last reason."""

    def __init__(self) -> None:
        self.count = 0
        self.reason = ""
        self._last = float("-inf")

    def add(self, reason: str) -> None:
        self.count += 1
        self.reason = reason
        self._last = time.monotonic()

    def is_recent(self, now: float) -> bool:
        return self._last >= now - WINDOW


class Status(NamedTuple):
    """The diagnostic status of one part of the node.

    Attributes:
        part: its name, appended to the node's.
        level: level of DiagnosticStatus. OK; WARN for possibly transient problems (no images, a
            rejected frame); ERROR if there is no useful output.
        text: one line.
        values: keys and values.
        hardware: the source it depends on, such as a camera topic.
    """

    part: str
    level: bytes
    text: str
    values: dict[str, str]
    hardware: str = ""


def describe_backend(detector: MaskDetector) -> dict[str, str]:
    """Describe for diagnostics what runs the networks, and why."""
    return {
        "backend": detector.backend,
        "device": detector.device,
        "backend reason": detector.backend_reason,
        "engine": detector.engine_state or "none used",
        "server": detector.server_state or "none used",
    }


def describe_failure(error: Exception) -> str:
    """Describe for diagnostics in one line why a frame failed; of an unexpected error also its kind
    and place."""
    what = hide_passwords(" ".join(str(error).split()))
    if isinstance(error, MaskDetectorError):
        return what
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {what} ({Path(place.filename).name}:{place.lineno})"


class StatusReporter:
    """Publishes the node's parts to /diagnostics every second; warns of duplicate node names.

    Args:
        statuses: returns the status of each part; the first also reports a duplicate node name.
    """

    def __init__(self, node: Node, statuses: Callable[[], list[Status]]) -> None:
        self._node = node
        self._statuses = statuses
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        node.create_timer(PERIOD, self._report, clock=STEADY_CLOCK)

    def _report(self) -> None:
        statuses = self._statuses()
        name = self._node.get_fully_qualified_name()
        twins = count_nodes_called(self._node, name)
        if twins > 1:
            text = f"{twins} nodes are called {name}: give each a name (-r __node:=) or a namespace"
            level = max(statuses[0].level, DiagnosticStatus.WARN)
            statuses[0] = statuses[0]._replace(level=level, text=text)
            self._node.get_logger().warning(text, throttle_duration_sec=WARNING_PERIOD)
        header = Header(stamp=self._node.get_clock().now().to_msg())
        array = DiagnosticArray(header=header)
        for status in statuses:
            # Names as in diagnostic_updater, by which rqt_robot_monitor groups: "node: task".
            message = DiagnosticStatus(
                level=status.level,
                name=f"{name.strip('/')}: {status.part}",
                message=status.text,
                hardware_id=status.hardware,
            )
            message.values = [KeyValue(key=k, value=v) for k, v in status.values.items()]
            array.status.append(message)
        self._publisher.publish(array)
