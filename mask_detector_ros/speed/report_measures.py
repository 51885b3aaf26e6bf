# SPDX-License-Identifier: Apache-2.0
"""Compute the measures in the speed report from times and boxes of single calls."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.evaluation.matching import match_faces
from mask_detector_ros.faces import Faces

MIN_AGREEMENT = 0.8
"""Intersection over union from which two detectors found the same box."""


def ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Speed measure: their time as a multiple of ours, the geometric mean over frames of the ratio
    of medians over rounds.

    Args:
        ours, theirs: (rounds, frames) seconds.
    """
    quotients = np.median(theirs, axis=0) / np.median(ours, axis=0)
    return float(np.exp(np.log(quotients).mean()))


def spread(seconds: NDArray[np.float64]) -> tuple[float, float, float]:
    """Speed measure: median, lower and upper quartile over everything, in milliseconds."""
    median, low, high = np.percentile(seconds, [50, 25, 75]) * 1e3
    return float(median), float(low), float(high)


def agreement(ours: list[NDArray[np.float64]], theirs: list[NDArray[np.float64]]) -> float:
    """Measure of the speed report: the share of all boxes, ours and theirs, that have a match in
    the other's of the frame.

    Args:
        ours, theirs: one (N, 4) array of xmin, ymin, xmax, ymax for each frame.
    """
    matched = sum(
        int((match_faces(Faces.known(a), Faces.known(b), MIN_AGREEMENT) >= 0).sum())
        for a, b in zip(ours, theirs, strict=True)
    )
    boxes = sum(len(a) + len(b) for a, b in zip(ours, theirs, strict=True))
    return 2 * matched / boxes if boxes else 1.0


def ratio_quartiles(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float]:
    """Speed measure: lower and upper quartile over rounds of the ratio of their time to ours in the
    same round (geometric mean over frames).

    Args:
        ours, theirs: (rounds, frames) seconds.
    """
    low, high = np.percentile(np.exp(np.log(theirs / ours).mean(axis=1)), [25, 75])
    return float(low), float(high)


def fit_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Measure of the speed report: fit a line by least squares; return slope, intercept and R².

    Args:
        x, y: values of equal length; at least two different x.
    """
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.asarray(y) - (slope * np.asarray(x) + intercept)
    variance = float(np.var(y))
    return float(slope), float(intercept), 1 - float(np.var(rest)) / variance if variance else 1.0
