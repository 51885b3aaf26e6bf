# SPDX-License-Identifier: Apache-2.0
"""Recognise the tool that made a network, and its fixed preprocessing, by the names of layers."""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx

from convert_to_trt.classifier_settings import PRESETS, Preset, Settings
from convert_to_trt.input_form import InputForm
from convert_to_trt.onnx_inputs_outputs import names_of

_TEACHABLE_LAYER = re.compile(r"(^|/)dense_Dense\d+(/|$)")
"""Teachable Machine trains in TensorFlow.js, which names its dense layers so; no other tool does.
Every export keeps the names: Keras, TensorFlow Lite, SavedModel and TensorFlow.js."""

_TEACHABLE_SIDE = 224


@dataclass(frozen=True)
class Origin:
    """A tool that makes networks with fixed preprocessing.

    Attributes:
        tool: its name.
        preset: key of `classifier_settings.PRESETS`: the preprocessing of its networks.
    """

    tool: str
    preset: str

    @property
    def pixels(self) -> Preset:
        """Colour and range that the tool's networks take."""
        return PRESETS[self.preset]

    def metadata(self) -> dict[str, str]:
        """The tool's preprocessing as ONNX metadata."""
        pixels = self.pixels
        return {"color": pixels.color, "scale": str(pixels.scale), "offset": str(pixels.offset)}

    def apply(self, settings: Settings) -> Settings:
        """Return the settings with this tool's colour and range."""
        return settings.with_pixels(self.pixels)

    def conflict(self, settings: Settings) -> str:
        """Describe how settings conflict with this tool's preprocessing; empty if they do not."""
        if settings.parts == self.apply(settings).parts:
            return ""
        return (
            f"the layers of this model have the names that {self.tool} gives, which trains every"
            f" model with --preprocess {self.preset}; the given preprocessing is another"
        )


TEACHABLE_MACHINE = Origin("Teachable Machine", "mobilenet_v2")
"""Its exported snippets all compute (pixel / 127.5) - 1 of RGB pixels."""


def find_origin(model: onnx.ModelProto, form: InputForm) -> Origin | None:
    """Find the tool that made a network; None if its names do not reveal it.

    Args:
        model: the network with the names of the framework that it came from.
        form: input form of its crops; integer input has no range to recognise.
    """
    names = (*names_of(model.graph), *(node.name for node in model.graph.node))
    is_teachable = form.side == _TEACHABLE_SIDE and any(map(_TEACHABLE_LAYER.search, names))
    return TEACHABLE_MACHINE if is_teachable and not form.is_pixels else None
