# SPDX-License-Identifier: Apache-2.0
"""Check whether another label order, colour order or range fits a model better than the given one.

A converter cannot know a model's training preprocessing, and with a wrong one the model runs but
gives wrong results. The shipped classifier serves as a reference: both classify the same faces
under every plausible setting, and the setting with the best agreement is most likely right. If the
model itself reveals its preprocessing (`origins`), that gives colour and range. Measured on public
models: `python -m convert_to_trt.referee_table`.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert_to_trt.classifier_settings import PRESETS, Preset, Settings
from convert_to_trt.referee_evidence import Evidence
from convert_to_trt.referee_fits import (
    SEPARATES,
    SEPARATES_RENDERED,
    Fit,
    is_clearly_better,
    measure_fit,
)
from convert_to_trt.tool_of_origin import Origin
from mask_detector_ros.label_roles import WITH_MASK, WITHOUT_MASK

MOST_LABELS = 4
"""Maximum number of labels of which every order is tried."""

Classify = Callable[[Settings], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Verdict:
    """The referee's verdict.

    Attributes:
        evidence: the faces.
        masked: (N,) which of the counted crops show a mask; the others show none.
        own: (N,) which of them are the user's.
        given: the given setting.
        rows: every setting tried, best first, including the given one.
        conflict: evidence in the model itself against the given colour and range; may be empty.
        chosen: `given`, or `taken` if `--settings auto` chose it.
    """

    evidence: Evidence
    masked: NDArray[np.bool_]
    own: NDArray[np.bool_]
    given: Fit
    rows: tuple[Fit, ...]
    conflict: str = ""
    chosen: str = "given"

    @property
    def are_rendered(self) -> bool:
        """Whether the referee had only rendered faces."""
        return self.evidence.own == 0

    @property
    def better(self) -> Fit | None:
        """A setting that the referee finds clearly better than the given one; None if there is
        none.

        Of those that fit about as well as the best, the one with the fewest changes, and a common
        range rather than a rare one, with the most right labels. Rendered faces, which show
        few colours, may mislead where colour changes together with another part.
        """
        if self.conflict:
            told = [row for row in self.rows if row.settings.pixels != self.given.settings.pixels]
            (same_order,) = [
                row for row in told if row.settings.labels == self.given.settings.labels
            ]
            return told[0] if self.is_clear(told[0], same_order) else same_order
        able = [
            row for row in self.rows if self._may_recommend(row) and self.is_clear(row, self.given)
        ]
        close = [row for row in able if not self.is_clear(able[0], row)]
        return min(close, key=self._preference, default=None)

    def _may_recommend(self, row: Fit) -> bool:
        """Whether rendered faces, where there are no others, may tell of this change."""
        given = self.given.settings
        is_color_alone = row.settings.count_changes(given) == 1
        return not self.are_rendered or row.settings.color == given.color or is_color_alone

    def _preference(self, row: Fit) -> tuple[int, bool, float]:
        return row.settings.count_changes(self.given.settings), row.is_rare, -row.agreement

    @property
    def fits(self) -> bool:
        """Whether the model tells masked from bare faces under any setting."""
        return max(row.separation for row in self.rows) >= self.least_separation

    @property
    def least_separation(self) -> float:
        """Minimum separation of a setting that fits."""
        return SEPARATES_RENDERED if self.are_rendered else SEPARATES

    def is_clear(self, best: Fit, other: Fit) -> bool:
        """Whether one setting fits clearly better than another."""
        return is_clearly_better(best, other, self.masked, self.own)

    @property
    def warning(self) -> str:
        """The referee's warning for the user; empty if the given setting fits."""
        better = self.better
        if better is None:
            return ""
        options, symptom = better.settings.to_options(), self.given.symptom
        finding = (
            f"{self.conflict}. The better setting is {options}"
            if self.conflict
            else f"another setting fits this model clearly better: {options}"
        )
        return (
            f"{finding}. With it the model tells masked from bare faces as {self._judges} in"
            f" {better.separation:.0%} of the pairs of {sum(self.evidence.counts)} {self._faces},"
            f" as given in {self.given.separation:.0%}{f', and {symptom}' if symptom else ''}."
            " Nothing was changed; if the better one is right, convert again with it"
        )

    @property
    def _judges(self) -> str:
        return "their labels do" if self.evidence.known else "the shipped classifier does"

    @property
    def _faces(self) -> str:
        return "rendered faces" if self.are_rendered else "crops"

    def describe(self, limit: int = 5) -> str:
        """The referee's table of settings, best first."""
        masked, bare = self.evidence.counts
        lines = [
            f"{masked} masked, {bare} bare {self._faces}, judged as {self._judges}: right labels,"
            " and pairs of a masked and a bare face in the right order"
        ]
        shown = [*self.rows[:limit], *([] if self.given in self.rows[:limit] else [self.given])]
        for row in shown:
            mark = f"  <- {self.chosen}" if row is self.given else ""
            lines.append(
                f"  {row.agreement:5.0%} {row.separation:5.0%}  {row.settings.to_options()}{mark}"
            )
        if not self.fits:
            lines.append("  no setting separates them: the model is weak on these faces")
        elif self.are_rendered:
            lines.append("  rendered faces tell little about colour; give --crops for that")
        return "\n".join(lines)

    def to_record(self) -> dict[str, Any]:
        """The referee's verdict as a JSON-ready dictionary."""
        return {
            "crops": sum(self.evidence.counts),
            "rendered": self.are_rendered,
            "conflict": self.conflict,
            "given": self.given.to_record(),
            "better": self.better.to_record() if self.better else None,
            "settings": [row.to_record() for row in self.rows[:8]],
        }


def judge(
    classify: Classify,
    given: Settings,
    evidence: Evidence,
    varied: tuple[str, ...],
    origin: Origin | None = None,
) -> Verdict | None:
    """Let the referee compare a model's labels with the known roles of the faces under many
    settings.

    Args:
        classify: (N, K) probabilities of the crops of `evidence` under a setting.
        given: the user's setting.
        evidence: the faces.
        varied: which of `labels`, `color` and `scale` to vary.
        origin: the tool that made the model: its colour and range are the only others.

    Returns:
        None if the model's labels do not include both with and without mask.
    """
    if not {WITH_MASK, WITHOUT_MASK} <= set(given.roles):
        return None
    used = np.isin(evidence.roles, (WITH_MASK, WITHOUT_MASK))
    masked = evidence.roles[used] == WITH_MASK
    own = (np.arange(len(used)) < evidence.own)[used]
    fits = []
    for pixels in _pixel_settings(given, varied, origin):
        probabilities = classify(pixels)[used]
        for settings in _label_orders(pixels, varied):
            fits.append(measure_fit(settings, probabilities, masked, own))
    rows = tuple(sorted(fits, key=lambda fit: -fit.score))
    return Verdict(evidence, masked, own, fits[0], rows, origin.conflict(given) if origin else "")


def _pixel_settings(
    given: Settings, varied: tuple[str, ...], origin: Origin | None
) -> Iterator[Settings]:
    """The given setting first, then each other colour and range."""
    yield given
    if origin is not None:
        if origin.conflict(given):
            yield origin.apply(given)
        return
    colors = ("RGB", "BGR") if "color" in varied else (given.color,)
    _, *own = given.pixels
    ranges = [tuple(own), *(tuple(preset[1:]) for preset in PRESETS.values() if "scale" in varied)]
    for color, values in itertools.product(colors, dict.fromkeys(ranges)):
        pixels = Preset(color, *values)
        if pixels != given.pixels:
            yield given.with_pixels(pixels)


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
            yield settings.with_labels(tuple(settings.labels[i] for i in order), roles)
