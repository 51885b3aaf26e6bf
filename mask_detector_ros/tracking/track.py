# SPDX-License-Identifier: Apache-2.0
"""One tracked face: position and velocity from a Kalman filter.

The centre has constant velocity (Bewley et al., "Simple Online and Realtime Tracking", 2016), the
size none: a face that comes into the frame is cut off at its edge, and its box grows much faster
than faces do. Lengths are in face sizes, so that near and far faces behave alike.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import NO_LABEL

Array = NDArray[np.float64]

MAX_STEP = 0.5
"""Seconds between two images beyond which velocities are too old to predict from."""

MEASUREMENT_NOISE, ACCELERATION, FIRST_SPEED = 0.08, 4.0, 5.0
"""Standard deviations: the detector's jitter in face sizes; the acceleration of people and of a
turning robot in face sizes per second squared; the speed of a person who walks by at arm's
length in face sizes per second."""


@dataclass
class Track:
    """One track: a person, estimated from observations of their face."""

    id: int
    state: Array
    """(3, 2): value and velocity of x and y in pixels, and of the logarithm of the size; that of
    the size is 0."""
    covariance: Array
    """(2, 2), shared by the three, in face sizes."""
    first_seen: float
    last_seen: float
    hits: int
    """Number of observations."""
    evidence: Array
    """(K,): mean of the probabilities, weighted by face score and recency."""
    weight: float
    """Current sum of these weights."""
    label: int
    hold: float
    """Evidence by which another label must lead before it replaces `label`."""
    label_since: float
    first_image: int
    sum_of_scores: float
    is_person: bool = False
    alerted: bool = False
    shape: Array = field(default_factory=lambda: np.zeros(4))
    """(4,): the last box, relative to centre and size."""

    @property
    def size(self) -> float:
        """Size of the track's face in pixels: the square root of its area."""
        return math.exp(self.state[2, 0])

    @property
    def box(self) -> Array:
        """(4,) the track's predicted box, xyxy pixels."""
        x, y = self.state[:2, 0]
        return np.array((x, y, x, y)) + self.size * self.shape

    @property
    def probabilities(self) -> Array:
        """(K,) the track's evidence for each label plus the advantage of the current label, whose
        value is the maximum."""
        if self.label == NO_LABEL:
            return self.evidence
        held = self.evidence.copy()
        held[self.label] += self.hold
        normal: Array = held / (1 + self.hold)
        return normal

    def predict(self, seconds: float) -> None:
        """Predict the track's state at a later time (Kalman prediction, white noise
        acceleration)."""
        t = min(seconds, MAX_STEP)
        self.state[:2, 0] += t * self.state[:2, 1]
        # Written out: NumPy takes ten times as long for matrices of 2x2.
        (a, b), (c, d) = self.covariance.tolist()
        noise = ACCELERATION**2 * t**2
        self.covariance = np.array(
            [
                [a + t * (b + c + t * d) + noise * t**2 / 4, b + t * d + noise * t / 2],
                [c + t * d + noise * t / 2, d + noise],
            ]
        )

    def correct(self, measured: Array) -> None:
        """Correct the track's state with an observed face (Kalman correction)."""
        offset = measured - self.state[:, 0]
        # A sudden change of size means a half-hidden face or two merged ones: it weighs less.
        noise = MEASUREMENT_NOISE**2 + offset[2] ** 2
        gain = self.covariance[:, 0] / (self.covariance[0, 0] + noise)
        self.state = self.state + np.outer(offset, gain)
        self.state[2, 1] = 0
        self.covariance = self.covariance - np.outer(gain, self.covariance[0])
