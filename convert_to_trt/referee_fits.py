# SPDX-License-Identifier: Apache-2.0
"""How well a model fits the referee's faces under one setting, and which of two settings fits
better.

The measure is the mean log-likelihood of the right labels, with masked and bare faces counted
alike. It falls where labels change, and also where a range that is too large saturates the
network: all probabilities are then 0 or 1, and each error costs the logarithm of `FLOOR`. A range
that is too small does the opposite: the network gives much the same for every face, which costs
little. So settings under which the network does not respond to faces, or is saturated by nearly
all of them, are penalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert_to_trt.classifier_settings import PRESETS, Settings
from mask_detector_ros.label_roles import WITH_MASK, WITHOUT_MASK

FLOOR = 1e-6
"""Smallest probability that counts. A network in float32 that is not saturated stays above it."""

RESPONSE, RESPONSE_WEIGHT = 1.0, 0.5
"""A network that responds to faces spreads its log-odds of mask against none by at least
`RESPONSE`, from the first to the ninth decile. For less, the penalty is `RESPONSE_WEIGHT` times the
logarithm of the ratio. Networks in their own range spread them by 4 to 30."""

SATURATED, SATURATED_WEIGHT = 0.95, 0.5
"""Share of the crops with log-odds at their limit from which a network is saturated, and the
penalty. In their own range public networks saturate on 0 to 0.9 of the crops, and 0.97 to 1 where
pixels were divided by 255 in training and are not now."""

AGREES, AGREES_COLOR, AGREES_ORDER, AGREES_RENDERED = 0.6, 0.65, 0.55, 0.77
"""Minimum agreement of a setting that may be recommended, where guessing has 0.5: in general, for
another colour alone, for another order alone, and on rendered faces, which are easier. A weak
model still tells the order of its labels, but may prefer the wrong colour."""

CLEAR_GAIN = 0.1
"""Minimum gain in mean log-likelihood by which a setting fits clearly better."""

AGREEMENT_LOSS = 0.1
"""Agreement that a clearly better setting may lose: less saturated, it may give some labels up."""

DEVIATIONS, DEVIATIONS_RENDERED, DEVIATIONS_RARE = 2.5, 2.8, 3.5
"""Minimum gain in standard errors of its mean over the crops: in general, with rendered faces
alone, and for the rarer ranges `imagenet` and `caffe`. All of these were chosen on twelve public
models and measured on others; see convert_to_trt/README.md."""

RARE_RANGES = tuple(
    (PRESETS[n].scale, PRESETS[n].offset, PRESETS[n].mean, PRESETS[n].std)
    for n in ("imagenet", "caffe")
)


@dataclass(frozen=True, eq=False)
class Fit:
    """How well one setting fits the referee's faces.

    Attributes:
        settings: the setting.
        agreement: share of the user's crops with the right label, or of the rendered faces where
            there are none; the mean of those with and without mask.
        right: (N,) whether each crop got the right label, weighted so that the mean counts
            crops with and without mask alike.
        gains: (N,) logarithm of the probability of the right label, weighted likewise.
        response: spread of the log-odds of mask against none, first to ninth decile.
        saturation: share of the crops with log-odds at their limit.
    """

    settings: Settings
    agreement: float
    right: NDArray[np.float64]
    gains: NDArray[np.float64]
    response: float
    saturation: float

    @property
    def is_saturated(self) -> bool:
        """Whether nearly all probabilities under a setting are 0 or 1."""
        return self.saturation >= SATURATED

    @property
    def penalty(self) -> float:
        """The penalty on a fit whose network does not respond to faces or is saturated; 0 for
        others."""
        ratio = RESPONSE / max(self.response, FLOOR)
        unresponsive = RESPONSE_WEIGHT * max(0.0, float(np.log(ratio)))
        return unresponsive + SATURATED_WEIGHT * self.is_saturated

    @property
    def symptom(self) -> str:
        """What is wrong with the probabilities under a setting, apart from their labels; empty for
        nothing."""
        if self.response < RESPONSE:
            return "its probabilities are much the same for every face"
        if self.is_saturated:
            return "its probabilities are 0 or 1 for nearly every face"
        return ""

    @property
    def score(self) -> float:
        """Fit score of a setting: mean log-likelihood of the right labels, less the penalty; 0 is
        perfect."""
        return float(self.gains.mean()) - self.penalty

    @property
    def is_rare(self) -> bool:
        """Whether the fitted setting's range is one of `RARE_RANGES`."""
        return self.settings.parts["scale"] in RARE_RANGES

    def to_record(self) -> dict[str, Any]:
        """The fit of a setting as a JSON-ready dictionary."""
        return {
            "options": self.settings.to_options(),
            "agreement": round(self.agreement, 4),
            "score": round(self.score, 4),
        }


def measure_fit(
    settings: Settings,
    probabilities: NDArray[np.float32],
    roles: NDArray[np.str_],
    own: NDArray[np.bool_],
) -> Fit:
    """Measure how well a setting fits the referee's faces.

    Args:
        settings: the setting.
        probabilities: (N, K) of the crops under it.
        roles: (N,) what the crops show, with or without mask.
        own: (N,) which of them are the user's.
    """
    columns = np.array(settings.roles)
    chances = (probabilities * (columns[None, :] == roles[:, None])).sum(axis=1)
    weights = np.empty(len(roles))
    for part in (own, ~own):
        masked, bare = (part & (roles == role) for role in (WITH_MASK, WITHOUT_MASK))
        weights[masked] = part.sum() / 2 / max(masked.sum(), 1)
        weights[bare] = part.sum() / 2 / max(bare.sum(), 1)
    right = (columns[probabilities.argmax(axis=1)] == roles) * weights
    gains = np.log(np.clip(chances.astype(np.float64), FLOOR, 1)) * weights
    agreement = float(right[own if own.any() else ~own].mean())
    masked, bare = (
        np.log(np.clip(probabilities[:, columns == role].sum(axis=1), FLOOR, 1))
        for role in (WITH_MASK, WITHOUT_MASK)
    )
    odds = masked - bare
    low, high = np.quantile(odds, [0.1, 0.9])
    reach = np.abs(odds)
    # The limit is `FLOOR`, or what the head adds to several sigmoids.
    saturation = float(np.mean(reach >= 0.99 * reach.max()))
    return Fit(settings, agreement, right, gains, float(high - low), saturation)


def is_clearly_better(best: Fit, other: Fit, own: NDArray[np.bool_]) -> bool:
    """Whether one setting fits clearly better than another, by a paired test over the crops.

    Args:
        best, other: the two.
        own: (N,) which of the crops are the user's.
    """
    mine, theirs = best.settings.parts, other.settings.parts
    # Rendered faces show two people only, with few colours: there colour may mislead.
    is_color = mine["scale"] == theirs["scale"] and mine["labels"] == theirs["labels"]
    is_order = mine["scale"] == theirs["scale"] and mine["color"] == theirs["color"]
    used = own if is_color and own.any() else np.ones_like(own)
    difference = best.gains[used] - other.gains[used]
    gain = float(difference.mean()) + other.penalty - best.penalty
    error = float(difference.std(ddof=1)) / len(difference) ** 0.5
    deviations = DEVIATIONS if own.any() else DEVIATIONS_RENDERED
    if best.is_rare:
        deviations = DEVIATIONS_RARE
    agreement = best.right[used].mean()
    least = AGREES_ORDER if is_order else AGREES_COLOR if is_color else AGREES
    agrees = agreement >= (least if own.any() else AGREES_RENDERED)
    keeps = agreement >= other.right[used].mean() - AGREEMENT_LOSS
    return bool(agrees and keeps and gain >= max(CLEAR_GAIN, deviations * error))
