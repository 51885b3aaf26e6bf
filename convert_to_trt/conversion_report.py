# SPDX-License-Identifier: Apache-2.0
"""The report of a conversion, as text and JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert_to_trt.classifier_settings import Settings
from convert_to_trt.conversion_parity import Parity
from convert_to_trt.input_form import InputForm
from convert_to_trt.referee import Verdict


@dataclass(frozen=True)
class Report:
    """The result of a conversion.

    Attributes:
        output: the ONNX file.
        framework: framework of the original.
        settings: labels and preprocessing.
        form: form of the crops.
        batch_normalisations: number left in the graph.
        parity: differences from the original.
        verdict: the referee's result; None if it could not judge.
        conflict: evidence in the model itself against the settings; may be empty.
        notes: further notes for the user.
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
        """The report's warning about the conversion settings; may be empty."""
        return self.verdict.warning if self.verdict else self.conflict

    def to_record(self) -> dict[str, Any]:
        """The report of a conversion as a JSON-ready dictionary."""
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
        """The report of a conversion as lines of text."""
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
            f"parity over {parity.random_crops} random and {parity.face_crops} face crops:"
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
