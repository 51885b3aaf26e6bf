"""Where an image's time goes, from its stamp to its detections."""

from __future__ import annotations

import time

from mask_detector_ros.result_messages import LATENCY_PARTS


class LatencyBreakdown:
    """The time that one image spends in each part of its way through the node, in nanoseconds.

    Args:
        transport: from the image's stamp until now.

    Attributes:
        parts: the time of each finished part of `LATENCY_PARTS`; their sum is the latency so far.
    """

    def __init__(self, transport: int) -> None:
        self.parts = {"transport": transport}
        self._since = time.monotonic_ns()

    def end(self, part: str) -> None:
        """End this part and begin the next."""
        now = time.monotonic_ns()
        self.parts[part] = now - self._since
        self._since = now

    @property
    def in_progress(self) -> str:
        """The part of `LATENCY_PARTS` that has not ended; the last, once all have."""
        return next((part for part in LATENCY_PARTS if part not in self.parts), LATENCY_PARTS[-1])

    @property
    def latency(self) -> int:
        """From the stamp to the end of the last part."""
        return sum(self.parts.values())
