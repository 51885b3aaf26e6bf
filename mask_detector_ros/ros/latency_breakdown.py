# SPDX-License-Identifier: Apache-2.0
"""Latency breakdown of an image, from its stamp to its detections."""

import time

from mask_detector_ros.result_messages import LATENCY_PARTS

LONGEST_AHEAD, LONGEST_BEHIND = 0.1, 10.0
"""Plausible seconds between a stamp and the node's clock, with good clocks and a slow camera."""


class LatencyBreakdown:
    """The time that an image spends in each processing step, in nanoseconds.

    Args:
        transport: time from the image's stamp until now.
        clock_fault: the stamp's fault, from `find_clock_fault`.

    Attributes:
        parts: the time of each finished part of `LATENCY_PARTS`; their sum is the latency so far.
    """

    def __init__(self, transport: int, clock_fault: str = "") -> None:
        self.clock_fault = clock_fault
        self.parts = {"transport": transport}
        self._since = time.monotonic_ns()

    def end(self, part: str) -> None:
        """End this part of the latency and begin the next."""
        now = time.monotonic_ns()
        self.parts[part] = now - self._since
        self._since = now

    @property
    def in_progress(self) -> str:
        """The part of `LATENCY_PARTS` in progress; the last one when all have ended."""
        return next((part for part in LATENCY_PARTS if part not in self.parts), LATENCY_PARTS[-1])

    @property
    def latency(self) -> int:
        """The whole latency, from the stamp to the end of the last part."""
        return sum(self.parts.values())


def find_clock_fault(stamp: int, now: int) -> str:
    """Why the time from a stamp to now (both in nanoseconds) is not a latency, because of a clock;
    empty if it is.

    A clock at 0 is simulated time before the first clock message.
    """
    if stamp == 0:
        return "stamps are zero: the camera's driver must set header.stamp"
    if now == 0:
        return "use_sim_time is true, but no node publishes /clock"
    seconds = (stamp - now) / 1e9
    if seconds > LONGEST_AHEAD:
        return f"stamps are {seconds:.3g} s ahead: do camera and node use the same clock?"
    if seconds < -LONGEST_BEHIND:
        return (
            f"stamps are {-seconds:.0f} s behind: do camera and node use the same clock (a bag "
            "needs use_sim_time and `ros2 bag play --clock`)?"
        )
    return ""
