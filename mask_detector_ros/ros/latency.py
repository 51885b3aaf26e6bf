"""Where an image's time goes, from its stamp to its detections."""

from __future__ import annotations

import time

PARTS = ("transport", "wait", "conversion", "inference", "publish")
"""The parts of the latency, in order: on the way to the node; until the detector is free for it;
from the message to an array; finding, labelling and following faces; making and sending the
detections."""


class LatencyBreakdown:
    """One image's way through the node. Times in nanoseconds.

    Args:
        transport: how long it was under way until now.

    Attributes:
        parts: the time of each part that is over; their sum is the latency so far.
    """

    def __init__(self, transport: int) -> None:
        self.parts = {"transport": transport}
        self._since = time.monotonic_ns()

    def end(self, part: str) -> None:
        """The image has come to the end of this part and begins the next."""
        now = time.monotonic_ns()
        self.parts[part] = now - self._since
        self._since = now

    @property
    def latency(self) -> int:
        """From the stamp to the end of the last part."""
        return sum(self.parts.values())
