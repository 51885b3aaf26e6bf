# SPDX-License-Identifier: Apache-2.0
"""How well a model under one setting tells masked from bare faces, and which of two fits better.

Two measures complement each other:

- *Separation*: the share of pairs of a masked and a bare face in which the masked one gets the
  higher odds of a mask, which is the area under the ROC curve. It does not depend on where the
  model draws the line between them, so it also judges models that prefer one label.
- *Likelihood* of the right labels, for settings that agree on most labels. It also tells settings
  apart that both separate all faces.

Neither suffices where a range multiplies all odds: a network of ReLUs without biases separates as
well with pixels 255 times too large. The odds themselves show that. A setting is penalised where
they hardly differ between faces, and where they are all extreme.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert_to_trt.classifier_settings import PRESETS, Settings
from mask_detector_ros.label_roles import WITH_MASK, WITHOUT_MASK

LEAST_SPREAD, MOST_LEVEL, PENALTY = 1.0, 30.0, 0.08
"""A network that responds to faces spreads its log-odds of mask against none by a median absolute
deviation of at least `LEAST_SPREAD`, and their median size is `MOST_LEVEL` at most. Beyond, the
penalty is `PENALTY` times the logarithm of the ratio. In their own range public networks have a
spread of 1 to 40 and a level of 1 to 43."""

FLOOR, LIKELIHOOD = 1e-3, 0.25
"""Smallest probability that counts, and the weight of its logarithm beside separation."""

SEPARATES, SEPARATES_RENDERED, AGREES = 0.55, 0.87, 0.75
"""Minimum separation of a setting that may be recommended, where guessing has 0.5: in general, and
on rendered faces, which a network that learnt nothing separates with 0.85 by their mean colour; and
minimum agreement where likelihood alone decides."""

CLEAR_GAIN, DEVIATIONS, DEVIATIONS_RARE = 0.03, 2.0, 2.5
"""Minimum gain in one measure by which a setting fits clearly better, which is also the most that
it may lose in the other; and minimum gain in standard errors: in general, and for the rarer ranges
`imagenet` and `caffe`. convert_to_trt/README.md tells how these were chosen."""

RARE_RANGES = tuple(PRESETS[name][1:] for name in ("imagenet", "caffe"))

_TINY = 1e-300
"""Added to a probability before its logarithm is taken."""


@dataclass(frozen=True, eq=False)
class Fit:
    """How well one setting fits the referee's faces.

    Attributes:
        settings: the setting.
        agreement: share of the user's crops with the right label, or of the rendered faces where
            there are none; the mean of those with and without mask.
        separation: the same faces' share of pairs of a masked and a bare one in the right order.
        gains: (2, N) of each crop: the share of the faces of the other kind on its right side,
            and `LIKELIHOOD` times the logarithm of the probability of the right label.
        spread: median absolute deviation of the log-odds of mask against none.
        level: median size of these log-odds.
    """

    settings: Settings
    agreement: float
    separation: float
    gains: NDArray[np.float64]
    spread: float
    level: float

    @property
    def penalty(self) -> float:
        """For odds that do not respond to faces, or are all extreme; 0 for others."""
        ratios = LEAST_SPREAD / max(self.spread, _TINY), self.level / MOST_LEVEL
        return PENALTY * sum(max(0.0, float(np.log(max(ratio, _TINY)))) for ratio in ratios)

    @property
    def symptom(self) -> str:
        """What is wrong with the probabilities, apart from their labels; empty for nothing."""
        if self.spread < LEAST_SPREAD:
            return "its probabilities are much the same for every face"
        if self.level > MOST_LEVEL:
            return "its probabilities are 0 or 1 for nearly every face"
        return ""

    @property
    def score(self) -> float:
        """Separation and likelihood of all faces, less the penalty; 1 is perfect."""
        return float(self.gains.sum(axis=0).mean()) - self.penalty

    @property
    def is_rare(self) -> bool:
        """Whether its range is one of `RARE_RANGES`."""
        return self.settings.pixels[1:] in RARE_RANGES

    def to_record(self) -> dict[str, Any]:
        """The fit of a setting as a JSON-ready dictionary."""
        return {
            "options": self.settings.to_options(),
            "agreement": round(self.agreement, 4),
            "separation": round(self.separation, 4),
            "score": round(self.score, 4),
        }


def measure_fit(
    settings: Settings,
    probabilities: NDArray[np.floating[Any]],
    masked: NDArray[np.bool_],
    own: NDArray[np.bool_],
) -> Fit:
    """Measure how well a setting fits the referee's faces.

    Args:
        settings: the setting.
        probabilities: (N, K) of the crops under it.
        masked: (N,) whether each crop shows a mask; the others show none.
        own: (N,) which of them are the user's.
    """
    columns = np.array(settings.roles)
    logs = [
        np.log(probabilities[:, columns == role].sum(axis=1, dtype=np.float64) + _TINY)
        for role in (WITH_MASK, WITHOUT_MASK)
    ]
    likelihood = LIKELIHOOD * np.maximum(np.where(masked, *logs), np.log(FLOOR))
    odds = logs[0] - logs[1]
    placements = np.empty(len(odds))
    for part in (own, ~own):
        placements[part & masked] = _share_below(odds[part & ~masked], odds[part & masked])
        placements[part & ~masked] = 1 - _share_below(odds[part & masked], odds[part & ~masked])
    right = columns[probabilities.argmax(axis=1)] == np.where(masked, WITH_MASK, WITHOUT_MASK)
    shown = own if own.any() else ~own
    agreement = (right[shown & masked].mean() + right[shown & ~masked].mean()) / 2
    spread = float(np.median(np.abs(odds - np.median(odds))))
    separation, level = float(placements[shown].mean()), float(np.median(np.abs(odds)))
    gains = np.stack([placements, likelihood])
    return Fit(settings, float(agreement), separation, gains, spread, level)


def _share_below(values: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the values below each limit; those equal to it count half."""
    ranked = np.sort(values)
    below, up_to = (np.searchsorted(ranked, limits, side) for side in ("left", "right"))
    return (below + up_to) / 2 / max(len(values), 1)


def is_clearly_better(
    best: Fit, other: Fit, masked: NDArray[np.bool_], own: NDArray[np.bool_]
) -> bool:
    """Whether one setting fits clearly better than another.

    Gains are compared with their standard errors; for separation these follow E. DeLong, D. DeLong
    and Clarke-Pearson, "Comparing the areas under two or more correlated ROC curves", 1988.

    Args:
        best, other: the two.
        masked: (N,) which of the crops show a mask.
        own: (N,) which of them are the user's.
    """
    used = np.ones_like(own)
    if own.any() and best.settings.color != other.settings.color:
        # Rendered faces show two people only, with few colours: there colour may mislead.
        used = own
    kinds = [used & masked, used & ~masked]
    differences = best.gains - other.gains
    gains = sum(differences[:, kind].mean(axis=1) for kind in kinds) / 2
    gains = gains + other.penalty - best.penalty
    variances = sum(differences[:, kind].var(axis=1, ddof=1) / kind.sum() for kind in kinds)
    # Both means of the shares are separation; likelihood is the mean of its two means.
    errors = np.sqrt(variances) * (1.0, 0.5)
    deviations = DEVIATIONS_RARE if best.is_rare else DEVIATIONS
    is_clear = gains >= np.maximum(CLEAR_GAIN, deviations * errors)
    separation = sum(best.gains[0, kind].mean() for kind in kinds) / 2
    least = SEPARATES if own.any() else SEPARATES_RENDERED
    able = np.array([separation >= least, best.agreement >= AGREES])
    return bool((is_clear & able).any() and gains.min() >= -CLEAR_GAIN)
