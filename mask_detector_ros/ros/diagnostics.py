"""What `/diagnostics` says about the node: it counts, this module judges and words it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from std_msgs.msg import Header

from mask_detector_ros.result_messages import LATENCY_PARTS
from mask_detector_ros.ros.latency import LatencyBreakdown
from mask_detector_ros.ros.subscription import STEADY_CLOCK

PERIOD = 1.0
WINDOW = 10.0
WARNING_PERIOD = 5.0
"""Seconds: between two reports; over which rate and latency are taken; between two warnings."""


class FrameStatistics:
    """Counts frames; safe to use from several threads. Times in seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, LatencyBreakdown]] = deque()
        self._last_bad = self._last_good = float("-inf")
        self.last_image = time.monotonic()
        self.processed = 0
        self.dropped = 0
        self.bad = 0
        self.bad_reason = ""
        self.over_budget = 0
        self._last_overrun = float("-inf")
        self._overrun = ""

    def image_received(self, replaced: bool) -> None:
        """An image came; `replaced` says that it pushed out one that nobody had looked at."""
        with self._lock:
            self.last_image = time.monotonic()
            self.dropped += replaced

    def frame_processed(self, breakdown: LatencyBreakdown) -> None:
        """A frame was published."""
        now = time.monotonic()
        with self._lock:
            self.processed += 1
            self._last_good = now
            self._recent.append((now, breakdown))
            while self._recent[0][0] < now - WINDOW:
                self._recent.popleft()

    def frame_refused(self, reason: str) -> None:
        """A frame could not be used."""
        with self._lock:
            self.bad += 1
            self.bad_reason = reason
            self._last_bad = time.monotonic()

    def frame_over_budget(self, what: str) -> None:
        """A frame had more candidates than may be examined; the best were."""
        with self._lock:
            self.over_budget += 1
            self._overrun = what
            self._last_overrun = time.monotonic()

    def silence(self) -> float:
        """Seconds since the last image."""
        return time.monotonic() - self.last_image

    def status(self, image_timeout: float) -> tuple[bytes, str, dict[str, str]]:
        """Level, message and values for a DiagnosticStatus."""
        now = time.monotonic()
        with self._lock:
            recent = [breakdown for end, breakdown in self._recent if end >= now - WINDOW]
            values = {
                "frames processed": str(self.processed),
                "frames dropped": str(self.dropped),
                "frames refused": str(self.bad),
                "frames over budget": str(self.over_budget),
                "rate [Hz]": f"{len(recent) / WINDOW:.1f}",
            }
            overrun = self._overrun if self._last_overrun >= now - WINDOW else ""
            recently_bad = self._last_bad >= now - WINDOW
            recently_good = self._last_good >= now - WINDOW
        for name in ("latency", *LATENCY_PARTS):
            times = sorted(j.latency if name == "latency" else j.parts[name] for j in recent)
            for percent in (50, 99):
                value = times[min(len(times) * percent // 100, len(times) - 1)] if times else None
                text = "none" if value is None else f"{value / 1e6:.1f}"
                values[f"{name} p{percent} [ms]"] = text
        if self.silence() > image_timeout:
            return DiagnosticStatus.WARN, f"no image for {self.silence():.0f} s", values
        if recently_bad:
            if recently_good:
                return DiagnosticStatus.WARN, f"refused a frame: {self.bad_reason}", values
            return DiagnosticStatus.ERROR, f"no frame can be used: {self.bad_reason}", values
        if overrun:
            return DiagnosticStatus.WARN, overrun, values
        return DiagnosticStatus.OK, "running", values


class Status(NamedTuple):
    """What one part of the node has to say.

    Attributes:
        part: its name, which stands after the node's.
        level: of DiagnosticStatus. OK; WARN where something is wrong that may pass (silence, a
            frame refused); ERROR where nothing useful comes out.
        text: one line.
        values: keys and values.
        hardware: what it depends on, such as the topic of a camera.
    """

    part: str
    level: bytes
    text: str
    values: dict[str, str]
    hardware: str = ""


class StatusReporter:
    """Publishes the node's parts to /diagnostics every second; warns of a node of one name.

    Args:
        node: whose status it is.
        statuses: gives the status of each part, the first of which also names a twin.
    """

    def __init__(self, node: Node, statuses: Callable[[], list[Status]]) -> None:
        self._node = node
        self._statuses = statuses
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        node.create_timer(PERIOD, self._report, clock=STEADY_CLOCK)

    def _report(self) -> None:
        statuses = self._statuses()
        name = self._node.get_fully_qualified_name()
        twins = self._node.get_fully_qualified_node_names().count(name)
        if twins > 1:
            text = f"{twins} nodes are called {name}: give each a name (-r __node:=) or a namespace"
            level = max(statuses[0].level, DiagnosticStatus.WARN)
            statuses[0] = statuses[0]._replace(level=level, text=text)
            self._node.get_logger().warning(text, throttle_duration_sec=WARNING_PERIOD)
        header = Header(stamp=self._node.get_clock().now().to_msg())
        array = DiagnosticArray(header=header)
        for status in statuses:
            # The names of diagnostic_updater, by which rqt_robot_monitor groups: "node: task".
            message = DiagnosticStatus(
                level=status.level,
                name=f"{name.strip('/')}: {status.part}",
                message=status.text,
                hardware_id=status.hardware,
            )
            message.values = [KeyValue(key=k, value=v) for k, v in status.values.items()]
            array.status.append(message)
        self._publisher.publish(array)
