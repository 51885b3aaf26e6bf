# SPDX-License-Identifier: Apache-2.0
"""Compute the latency report's numbers from stamps and times of single images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
DROP_LIMIT = 0.05
"""Fraction of lost frames above which a rate is too high, as in ros2_benchmark."""

PRECISION = 0.04
"""Relative precision of the highest rate that is not too high."""


class Drift(NamedTuple):
    """Change of the latency during a run.

    Attributes:
        first, last: medians of the first and the last third, in milliseconds.
        slope: slope of the fitted line, in milliseconds per minute.
        error: standard error of the slope.
    """

    first: float
    last: float
    slope: float
    error: float


@dataclass(frozen=True)
class Frames:
    """The latencies of one camera's images.

    Attributes:
        stamps: (N,) stamps of the images with detections, in nanoseconds.
        total: (N,) milliseconds from the stamp until the detections were received.
        parts: (N,) milliseconds of each part, by name, in order; their sum is `total`.
        published: number of images published.
    """

    stamps: NDArray[np.int64]
    total: NDArray[np.float64]
    parts: dict[str, NDArray[np.float64]]
    published: int

    @property
    def lost(self) -> int:
        """Number of a camera's images without detections in the latency measurement."""
        return self.published - len(self.stamps)

    @property
    def drop(self) -> float:
        """Fraction of a camera's images without detections in the latency measurement."""
        return self.lost / self.published if self.published else 0.0

    @property
    def received_rate(self) -> float:
        """Rate of a camera's detections in Hz in the latency measurement, by the stamps of their
        images."""
        if len(self.stamps) < 2:
            return 0.0
        return float((len(self.stamps) - 1) / (self.stamps[-1] - self.stamps[0]) * 1e9)

    @property
    def without_inference(self) -> NDArray[np.float64]:
        """(N,) latency of each image without inference, in milliseconds."""
        return self.total - self.parts.get("inference", 0.0)

    def drift(self) -> Drift:
        """Drift of the camera's latency over the run; NaN for fewer than four images."""
        if len(self.stamps) < 4:
            return Drift(*[float("nan")] * 4)
        third = len(self.total) // 3
        first, last = np.median(self.total[:third]), np.median(self.total[-third:])
        minutes = (self.stamps - self.stamps[0]) / 60e9
        line, covariance = np.polyfit(minutes, self.total, 1, cov=True)
        return Drift(float(first), float(last), float(line[0]), float(covariance[0, 0] ** 0.5))


def match_frames(
    published: Sequence[int], received: Mapping[int, int], times: Mapping[int, Mapping[str, int]]
) -> Frames:
    """Combine the latency records of camera, subscriber and node. Times are in nanoseconds.

    Args:
        published: stamps of the images.
        received: arrival time of the detections, by stamp.
        times: latency parts measured by the node, by stamp; empty for a node that measures none.
            The remaining time until arrival becomes `delivery`.
    """
    stamps = [s for s in published if s in received and (s in times or not times)]
    total = np.array([received[s] - s for s in stamps], float) / 1e6
    names = list(next(iter(times.values()))) if times else []
    parts = {name: np.array([times[s][name] for s in stamps], float) / 1e6 for name in names}
    if parts:
        parts["delivery"] = total - sum(parts.values())
    return Frames(np.array(stamps, np.int64), total, parts, len(published))


def percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    """p50, p90, p99 and maximum of latencies; NaN without values."""
    if not len(values):
        return dict.fromkeys(PERCENTILES, float("nan"))
    return {name: float(np.percentile(values, p)) for name, p in PERCENTILES.items()}


def fairness(rates: Sequence[float]) -> float:
    """Measure of the latency report: fairness between cameras, the lowest rate divided by the
    highest; 1 is fair."""
    return min(rates) / max(rates) if max(rates) > 0 else 0.0


def search_rate(drop: Callable[[float], float], low: float, high: float) -> float:
    """Find by bisection the highest rate at which at most `DROP_LIMIT` of the frames are lost, for
    the latency report.

    Args:
        drop: returns the fraction of frames lost at a rate.
        low, high: bounds of the search. If `high` is not too high, it is the answer; `low` is not
            tried.
    """
    if drop(high) <= DROP_LIMIT:
        return high
    while high / low > 1 + PRECISION:
        middle = (low * high) ** 0.5
        if drop(middle) <= DROP_LIMIT:
            low = middle
        else:
            high = middle
    return low
