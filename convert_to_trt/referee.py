# SPDX-License-Identifier: Apache-2.0
"""Does another order of labels, colour or range fit a model better than what was given?

A converter cannot know what a model was trained with, and a wrong answer gives a model that runs
and is wrong. But the shipped classifier knows who wears a mask. So both see the same faces, under
every setting that could be meant, and the setting under which they agree is most likely the right
one. Measured on public models: `python -m convert_to_trt.referee_table`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert_to_trt.evidence import Evidence
from convert_to_trt.settings import PRESETS, Settings
from mask_detector_ros.roles import WITH_MASK, WITHOUT_MASK

MOST_LABELS = 4
"""Up to which every order of the labels is tried."""

FLOOR = 1e-2
"""Probabilities below it count as it, so that one crop cannot decide alone."""

FITS, FITS_RENDERED = 0.65, 0.8
"""Agreement from which on a setting fits; guessing has 0.5. Rendered faces are easier."""

CLEAR_GAIN = 0.05
"""Mean gain of the logarithm of the probability by which another setting fits clearly better."""

CLEAR_AGREEMENT = 0.04
"""The agreement that another range must gain."""

CLEAR_DEVIATIONS, CLEAR_DEVIATIONS_RENDERED, CLEAR_DEVIATIONS_RARE = 2.2, 2.5, 3.5
"""The same, in standard errors of the mean over the crops: in general, where there are only
rendered faces, and for the rarer ranges `imagenet` and `caffe`. Chosen on the public models in
convert_to_trt/README.md."""

RARE_RANGES = tuple(
    (PRESETS[n].scale, PRESETS[n].offset, PRESETS[n].mean, PRESETS[n].std)
    for n in ("imagenet", "caffe")
)

Classify = Callable[[Settings], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Row:
    """How one setting fits.

    Attributes:
        settings: the setting.
        agreement: share of the user's crops with the right label, or of the rendered faces where
            there are none; the mean of those with and without mask.
        right: (N,) whether each crop got the right label, weighted so that the mean counts
            crops with and without mask alike.
        gains: (N,) logarithm of the probability of the right label, weighted likewise.
    """

    settings: Settings
    agreement: float
    right: NDArray[np.float64]
    gains: NDArray[np.float64]

    @property
    def score(self) -> float:
        """Mean logarithm of the probability of the right label; 0 is perfect."""
        return float(self.gains.mean())

    def to_record(self) -> dict[str, Any]:
        """As a JSON-ready dictionary."""
        return {
            "options": self.settings.to_options(),
            "agreement": round(self.agreement, 4),
            "score": round(self.score, 4),
        }


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the referee found.

    Attributes:
        evidence: the faces.
        own: (N,) which of the crops that count are the user's.
        given: the setting that was given.
        rows: every setting that was tried, best first, the given one included.
        chosen: how `given` came about: `given`, or `taken` by `--settings auto`.
    """

    evidence: Evidence
    own: NDArray[np.bool_]
    given: Row
    rows: tuple[Row, ...]
    chosen: str = "given"

    @property
    def are_rendered(self) -> bool:
        """Whether there are only rendered faces."""
        return self.evidence.own == 0

    @property
    def better(self) -> Row | None:
        """A setting that fits clearly better than the given one; None where there is none.

        Of those that fit about as well as the best, the one with the fewest changes.
        """
        able = [row for row in self.rows if self.is_clear(row, self.given)]
        close = [row for row in able if not self.is_clear(able[0], row)]
        return min(close, key=lambda r: r.settings.count_changes(self.given.settings), default=None)

    @property
    def fits(self) -> bool:
        """Whether any setting makes the two agree."""
        return max(row.agreement for row in self.rows) >= self.least_agreement

    @property
    def least_agreement(self) -> float:
        """Agreement from which on a setting fits."""
        return FITS_RENDERED if self.are_rendered else FITS

    def is_clear(self, best: Row, other: Row) -> bool:
        """Whether one setting fits clearly better than another."""
        mine, theirs = best.settings.parts, other.settings.parts
        # Rendered faces show two people only, with few colours: there colour may mislead.
        is_color = mine["scale"] == theirs["scale"] and mine["labels"] == theirs["labels"]
        used = self.own if is_color and self.own.any() else np.ones_like(self.own)
        difference = best.gains[used] - other.gains[used]
        gain, error = difference.mean(), difference.std(ddof=1) / len(difference) ** 0.5
        deviations = CLEAR_DEVIATIONS_RENDERED if self.are_rendered else CLEAR_DEVIATIONS
        if mine["scale"] in RARE_RANGES:
            deviations = CLEAR_DEVIATIONS_RARE
        agreement, others = best.right[used].mean(), other.right[used].mean()
        # Another range may only make the same labels less sure, which is no fault of the range.
        least = others + CLEAR_AGREEMENT if mine["scale"] != theirs["scale"] else others - 0.02
        fits = agreement >= max(self.least_agreement, least)
        return bool(fits and gain >= max(CLEAR_GAIN, deviations * error))

    @property
    def warning(self) -> str:
        """What a user must know; empty where the given setting fits."""
        better = self.better
        if better is None:
            return ""
        return (
            f"another setting fits this model clearly better: {better.settings.to_options()}."
            f" With it the model agrees with {self._judges} on {better.agreement:.0%} of"
            f" {sum(self.evidence.counts)} {self._faces}, as given on {self.given.agreement:.0%}."
            " Nothing was changed; if the better one is right, convert again with it"
        )

    @property
    def _judges(self) -> str:
        return "their labels" if self.evidence.known else "the shipped classifier"

    @property
    def _faces(self) -> str:
        return "rendered faces" if self.are_rendered else "crops"

    def describe(self, limit: int = 5) -> str:
        """The table, best first."""
        masked, bare = self.evidence.counts
        lines = [f"agreement with {self._judges} on {masked} masked, {bare} bare {self._faces}:"]
        shown = [*self.rows[:limit], *([] if self.given in self.rows[:limit] else [self.given])]
        for row in shown:
            mark = f"  <- {self.chosen}" if row is self.given else ""
            lines.append(f"  {row.agreement:5.0%}  {row.settings.to_options()}{mark}")
        if not self.fits:
            lines.append("  no setting makes them agree: the model is weak on these faces")
        elif self.are_rendered:
            lines.append("  rendered faces tell little about colour; give --crops for that")
        return "\n".join(lines)

    def to_record(self) -> dict[str, Any]:
        """As a JSON-ready dictionary."""
        return {
            "crops": sum(self.evidence.counts),
            "rendered": self.are_rendered,
            "given": self.given.to_record(),
            "better": self.better.to_record() if self.better else None,
            "settings": [row.to_record() for row in self.rows[:8]],
        }


def judge(
    classify: Classify, given: Settings, evidence: Evidence, varied: tuple[str, ...]
) -> Verdict | None:
    """Compare a model with what is known of the faces, under many settings.

    Args:
        classify: (N, K) probabilities of the crops of `evidence` under a setting.
        given: what the user gave.
        evidence: the faces.
        varied: what may be otherwise: of `labels`, `color`, `scale`.

    Returns:
        None where nothing can be said: the model's labels do not name both with and without mask.
    """
    if not {WITH_MASK, WITHOUT_MASK} <= set(given.roles):
        return None
    used = np.isin(evidence.roles, (WITH_MASK, WITHOUT_MASK))
    roles, own = evidence.roles[used], (np.arange(len(used)) < evidence.own)[used]
    rows = []
    for pixels in _pixel_settings(given, varied):
        probabilities = classify(pixels)[used]
        for settings in _label_orders(pixels, varied):
            rows.append(_row(settings, probabilities, roles, own))
    given_row = rows[0]
    rows.sort(key=lambda row: -row.score)
    return Verdict(evidence, own, given_row, tuple(rows))


def _pixel_settings(given: Settings, varied: tuple[str, ...]) -> Iterator[Settings]:
    """The given setting first, then each other colour and range."""
    yield given
    colors = ("RGB", "BGR") if "color" in varied else (given.color,)
    own = (given.scale, given.offset, given.mean, given.std)
    ranges = [own]
    if "scale" in varied:
        ranges += [(p.scale, p.offset, p.mean, p.std) for p in PRESETS.values()]
    for color, (scale, offset, mean, std) in itertools.product(colors, dict.fromkeys(ranges)):
        if (color, scale, offset, mean, std) != (given.color, *own):
            yield replace(given, color=color, scale=scale, offset=offset, mean=mean, std=std)


def _label_orders(settings: Settings, varied: tuple[str, ...]) -> Iterator[Settings]:
    """The given order first, then each other one that gives the columns other roles."""
    yield settings
    if "labels" not in varied or len(settings.labels) > MOST_LABELS:
        return
    seen = {settings.roles}
    for order in itertools.permutations(range(len(settings.labels))):
        roles = tuple(settings.roles[i] for i in order)
        if roles not in seen:
            seen.add(roles)
            yield replace(settings, roles=roles, labels=tuple(settings.labels[i] for i in order))


def _row(
    settings: Settings,
    probabilities: NDArray[np.float32],
    roles: NDArray[np.str_],
    own: NDArray[np.bool_],
) -> Row:
    columns = np.array(settings.roles)
    chances = (probabilities * (columns[None, :] == roles[:, None])).sum(axis=1)
    is_right = columns[probabilities.argmax(axis=1)] == roles
    weights = np.empty(len(roles))
    for part in (own, ~own):
        masked = part & (roles == WITH_MASK)
        bare = part & ~(roles == WITH_MASK)
        weights[masked] = part.sum() / 2 / max(masked.sum(), 1)
        weights[bare] = part.sum() / 2 / max(bare.sum(), 1)
    right = is_right * weights
    gains = np.log(np.clip(chances.astype(np.float64), FLOOR, 1)) * weights
    return Row(settings, float(right[own if own.any() else ~own].mean()), right, gains)
