# SPDX-License-Identifier: Apache-2.0
"""What a conversion made, for a person and for a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert_to_trt.input_form import InputForm
from convert_to_trt.parity import Parity
from convert_to_trt.referee import Verdict
from convert_to_trt.settings import Settings


@dataclass(frozen=True)
class Report:
    """What was made: the file, from what, and how close it is.

    Attributes:
        output: the ONNX file.
        framework: what the original was made with.
        settings: labels and preprocessing.
        form: of the crops.
        batch_normalisations: how many are left in the graph.
        parity: the difference to the original.
        verdict: of the referee; None where it could not judge.
        conflict: what the model itself says against the settings; else empty.
        notes: what else a user should know.
    """

    output: Path
    framework: str
    settings: Settings
    form: InputForm
    batch_normalisations: int
    parity: Parity
    verdict: Verdict | None
    conflict: str
    notes: tuple[str, ...]

    @property
    def warning(self) -> str:
        """What speaks against the settings; empty where nothing does."""
        return self.verdict.warning if self.verdict else self.conflict

    def to_record(self) -> dict[str, Any]:
        """As a JSON-ready dictionary."""
        return {
            "output": str(self.output),
            "framework": self.framework,
            "batch_normalisations": self.batch_normalisations,
            **self.settings.to_metadata(self.form.layout, self.form.side),
            "labels": list(self.settings.labels),
            "roles": [role or None for role in self.settings.roles],
            "parity": self.parity.to_record(),
            "referee": self.verdict.to_record() if self.verdict else None,
            "warning": self.warning,
            "notes": list(self.notes),
        }

    def describe(self) -> str:
        """As some lines of text."""
        parity, s, side = self.parity, self.settings, self.form.side
        pixels = f"{s.color} pixels as they are" if self.form.is_pixels else s.describe_pixels()
        form = self.form
        added = {1: ", made grey in the graph", 4: ", with an opaque alpha channel"}
        made = added.get(form.channels, "")
        if form.height != form.width:
            made += f", resized to {form.width}x{form.height} in the graph"
        lines = [
            f"{self.output}: from {self.framework}",
            f"labels {', '.join(_with_role(s.labels, s.roles))}",
            f"{side}x{side} {self.form.layout}, {pixels}{made}, margin {s.margin:g}",
            f"parity over {parity.random_crops} random and {parity.real_crops} real crops:"
            f" max |dp| {parity.largest:.2g}, mean |dp| {parity.mean:.2g},"
            f" same label {parity.same_label:.1%}",
        ]
        if self.batch_normalisations:
            lines.append(f"{self.batch_normalisations} batch normalisations follow no convolution")
        lines += [f"note: {note}" for note in self.notes]
        if self.verdict is not None:
            lines.append(self.verdict.describe())
        return "\n".join(lines)


def _with_role(labels: tuple[str, ...], roles: tuple[str, ...]) -> list[str]:
    pairs = zip(labels, roles, strict=True)
    return [name if role in ("", name) else f"{name} ({role})" for name, role in pairs]
