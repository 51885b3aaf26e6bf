"""Options that several commands share: the detector's parameters."""

from __future__ import annotations

import argparse
from typing import Any

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.parameters import DETECTOR_PARAMETERS


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """One option for each detector parameter, named like it."""
    group = parser.add_argument_group("detector")
    for parameter in DETECTOR_PARAMETERS:
        options: dict[str, Any] = {"type": type(parameter.default)}
        if isinstance(parameter.default, tuple):
            options = {"type": float, "nargs": len(parameter.default), "metavar": "T"}
        elif parameter.choices:
            options["choices"] = parameter.choices
        else:
            options["metavar"] = parameter.unit.upper() or "VALUE"
        shown = parameter.default
        if isinstance(shown, tuple):
            shown = " ".join(map(str, shown))
        group.add_argument(
            f"--{parameter.name.replace('_', '-')}",
            dest=parameter.name,
            default=argparse.SUPPRESS,
            help=f"{parameter.description.replace('%', '%%')} Default: {shown}.",
            **options,
        )


def load_detector(arguments: argparse.Namespace) -> MaskDetector:
    """The detector that the options describe."""
    given = vars(arguments)
    return MaskDetector.load(
        **{p.name: given[p.name] for p in DETECTOR_PARAMETERS if p.name in given}
    )


def describe_counts(counts: dict[str, int]) -> str:
    """Counts by label in words, such as `2 with mask, 1 without mask`."""
    parts = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count]
    return ", ".join(parts) or "no face"
