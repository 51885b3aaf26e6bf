# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals by bootstrap over images, since faces of one image are not independent."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.evaluation.metrics import Values, Weights

ROUNDS = 1000
SEED = 0
INTERVAL = (2.5, 97.5)
"""Percentiles of a 95 % interval."""

ROUNDS_AT_ONCE = 100
"""Draws per batch; bounds the memory of faces times draws."""


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval; NaN if there is nothing to count."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def draw_images(images: int, rounds: int = ROUNDS, seed: int = SEED) -> NDArray[np.uint16]:
    """Draw bootstrap samples: (rounds, images) how often each image is drawn; a round draws as many
    images as there are."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=rounds).astype(np.uint16)


def estimate(
    metric: Callable[[Weights], Values],
    draws: NDArray[np.uint16],
    images: NDArray[np.int64] | slice = slice(None),
) -> Estimate:
    """Compute a metric on all images, with its bootstrap interval from the draws.

    Args:
        metric: maps (R, N) weights of N rows to (R,) values.
        images: (N,) the image of each row; by default the rows are the images.
    """
    value = metric(np.ones((1, draws.shape[1]))[:, images])[0]
    parts = [
        metric(draws[start : start + ROUNDS_AT_ONCE].astype(np.float64)[:, images])
        for start in range(0, len(draws), ROUNDS_AT_ONCE)
    ]
    # A draw without a rare class has no value and is left out.
    values = np.concatenate(parts)
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.percentile(values, INTERVAL)
    return Estimate(float(value), float(low), float(high))
