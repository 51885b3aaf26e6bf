# SPDX-License-Identifier: Apache-2.0
"""Recognise the tool that made a network, and its fixed preprocessing, by what the file says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from convert_to_trt.classifier_settings import PRESETS, Preset, Settings
from convert_to_trt.input_form import InputForm
from convert_to_trt.onnx_inputs_outputs import names_of

_TEACHABLE_LAYER = re.compile(r"(^|/)dense_Dense\d+(/|$)")
"""Teachable Machine trains in TensorFlow.js, which names its dense layers so; no other tool does.
Every export keeps the names: Keras, TensorFlow Lite, SavedModel and TensorFlow.js."""

_TEACHABLE_SIDE = 224

_PIXELS = Preset("RGB", 1.0, 0.0)
_CUSTOM_VISION_ENDS = {
    ("Placeholder", "loss"): _PIXELS._replace(color="BGR"),
    ("Placeholder", "model_outputs"): _PIXELS._replace(color="BGR"),
    ("data", "model_output"): _PIXELS,
}
"""Input and output of Custom Vision's TensorFlow exports, and the pixels they take: of the domain
General (compact), and of General (compact) [S1].
Source: https://github.com/Azure-Samples/customvision-export-samples."""

_WINDOWS_RANGES = {
    "NominalRange_0_255": (1.0, 0.0),
    "Normalized_0_1": (1 / 255, 0.0),
    "Normalized_1_1": (1 / 127.5, -1.0),
    "NominalRange_16_235": (219 / 255, 16.0),
}
"""Scale and offset of each range in https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md;
Windows ML takes the first one where a file gives none."""


@dataclass(frozen=True)
class Origin:
    """A tool that makes networks with fixed preprocessing.

    Attributes:
        tool: its name.
        pixels: colour and range that its networks take.
        evidence: what in the file reveals it.
    """

    tool: str
    pixels: Preset
    evidence: str

    def metadata(self) -> dict[str, str]:
        """The tool's preprocessing as ONNX metadata."""
        pixels = self.pixels
        return {"color": pixels.color, "scale": str(pixels.scale), "offset": str(pixels.offset)}

    def describe(self) -> str:
        """The tool and the evidence for it, in one phrase."""
        return f"{self.tool}, known by {self.evidence}"

    def apply(self, settings: Settings) -> Settings:
        """Return the settings with this tool's colour and range."""
        return settings.with_pixels(self.pixels)

    def conflict(self, settings: Settings) -> str:
        """Describe how settings conflict with this tool's preprocessing; empty if they do not."""
        told = self.apply(settings)
        if settings.parts == told.parts:
            return ""
        return (
            f"{self.evidence} say that this is a model of {self.tool}, which takes"
            f" {told.pixel_options()}; the given preprocessing is another"
        )


def find_origin(
    model: onnx.ModelProto, form: InputForm, metadata: Mapping[str, str]
) -> Origin | None:
    """Find the tool that made a network; None if the file does not reveal it.

    Args:
        model: the network with the names of the framework that it came from.
        form: input form of its crops; integer input has no range to recognise.
        metadata: the network's ONNX metadata.
    """
    if form.is_pixels:
        return None
    pixel_format = metadata.get("Image.BitmapPixelFormat")
    if pixel_format and "scale" not in metadata:
        return _windows_origin(pixel_format, metadata.get("Image.NominalPixelRange", ""))
    if metadata.get("task") == "classify" and "names" in metadata:
        return Origin("Ultralytics", PRESETS["unit"], "the entries of its metadata")
    names = (*names_of(model.graph), *(node.name for node in model.graph.node))
    if form.side == _TEACHABLE_SIDE and any(map(_TEACHABLE_LAYER.search, names)):
        pixels = PRESETS["mobilenet_v2"]
        return Origin("Teachable Machine", pixels, "the names of its layers")
    ends = (model.graph.input[0].name, model.graph.output[0].name)
    pixels_of_ends = _CUSTOM_VISION_ENDS.get((_plain(ends[0]), _plain(ends[1])))
    if pixels_of_ends is None:
        return None
    return Origin("Custom Vision", pixels_of_ends, "the names of its input and output")


def _windows_origin(pixel_format: str, pixel_range: str) -> Origin | None:
    # Grey has no order of colours.
    color = pixel_format[:3].upper().replace("GRA", "RGB")
    values = _WINDOWS_RANGES.get(pixel_range or "NominalRange_0_255")
    if color not in ("BGR", "RGB") or values is None:
        return None
    return Origin("Windows ML", Preset(color, *values), "the Image entries of its metadata")


def _plain(tensor: str) -> str:
    return tensor.split(":")[0]
