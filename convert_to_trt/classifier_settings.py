# SPDX-License-Identifier: Apache-2.0
"""Settings of a classifier: labels and preprocessing, from options and file."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from convert_to_trt.label_settings import settle_labels, settle_roles
from mask_detector_ros.errors import ParameterError

Channels = tuple[float, float, float]


class Preset(NamedTuple):
    """A preset: the preprocessing of a family of networks, input = (pixel * scale + offset - mean)
    / std."""

    color: str
    scale: float
    offset: float
    mean: Channels | None = None
    std: Channels | None = None


PRESETS = {
    "mobilenet_v2": Preset("RGB", 1 / 127.5, -1.0),
    "unit": Preset("RGB", 1 / 255, 0.0),
    "none": Preset("RGB", 1.0, 0.0),
    "imagenet": Preset("RGB", 1 / 255, 0.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Preset("BGR", 1.0, 0.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
}
"""`mobilenet_v2` also serves MobileNet, Inception, Xception, ResNetV2 and Teachable Machine; `none`
serves EfficientNet and networks with a Rescaling layer of their own; `imagenet` PyTorch's
torchvision, `caffe` Keras's VGG and ResNet50. Source: `preprocess_input` of each,
https://keras.io/api/applications/, and https://pytorch.org/vision/stable/models.html."""

PIXELS = ("color", "scale", "offset")
GIVEN, AUTO = "given", "auto"


@dataclass(frozen=True)
class Settings:
    """The settings of a classifier: labels in the order of the outputs, and preprocessing; see
    models/README.md.

    Attributes:
        labels: their names.
        roles: role of each, one of `label_roles.ROLES` or `NO_ROLE`.
        color: BGR or RGB.
        scale, offset: the node computes pixel * scale + offset.
        margin: context around the face box, as a fraction of its longer side.
        mean, std: the graph then computes (value - mean) / std per channel, in the order of
            `color`; None for no such step.
    """

    labels: tuple[str, ...]
    color: str
    scale: float
    offset: float
    margin: float
    roles: tuple[str, ...] = ()
    mean: Channels | None = None
    std: Channels | None = None

    def to_metadata(self, layout: str, side: int) -> dict[str, str]:
        """The classifier's settings as ONNX metadata.

        Args:
            layout: `NHWC` or `NCHW`.
            side: side of the crops in pixels.
        """
        roles = {"roles": json.dumps([role or None for role in self.roles])}
        return {
            "labels": json.dumps(list(self.labels), ensure_ascii=False),
            **(roles if any(self.roles) else {}),
            "margin": str(self.margin),
            "color": self.color,
            "layout": layout,
            "scale": str(self.scale),
            "offset": str(self.offset),
            "input_size": str(side),
        }

    @property
    def pixels(self) -> Preset:
        """Colour and range in the classifier's settings."""
        return Preset(self.color, self.scale, self.offset, self.mean, self.std)

    def with_pixels(self, pixels: Preset) -> Settings:
        """Return the classifier's settings with another colour and range."""
        return replace(self, **pixels._asdict())

    def with_labels(self, labels: tuple[str, ...], roles: tuple[str, ...]) -> Settings:
        """Return the classifier's settings with other labels."""
        return replace(self, labels=labels, roles=roles)

    @property
    def parts(self) -> dict[str, object]:
        """The three parts of the settings that can be wrong: label order, colour order, and
        range."""
        color, *scale = self.pixels
        return {"labels": self.roles, "color": color, "scale": tuple(scale)}

    def count_changes(self, other: Settings) -> int:
        """Number of `parts` in which two classifier settings differ."""
        return sum(value != other.parts[name] for name, value in self.parts.items())

    def to_options(self) -> str:
        """The command options that give these classifier settings."""
        labels = ",".join(self.labels)
        return f"--labels {shlex.quote(labels)} {self.pixel_options()}"

    def pixel_options(self) -> str:
        """The command options that give this colour and range."""
        for name, preset in PRESETS.items():
            if self.parts["scale"] == (preset.scale, preset.offset, preset.mean, preset.std):
                color = f" --color {self.color}" if self.color != preset.color else ""
                return f"--preprocess {name}{color}"
        text = f"--color {self.color} --scale {self.scale:.6g} --offset {self.offset:g}"
        for name, values in (("mean", self.mean), ("std", self.std)):
            text += f" --{name} {','.join(f'{v:g}' for v in values)}" if values else ""
        return text

    def describe_pixels(self) -> str:
        """Describe the preprocessing in the classifier's settings in one phrase."""
        text = f"{self.color}, pixel * {self.scale:.6g} + {self.offset:g}"
        if self.mean is not None and self.std is not None:
            mean, std = (", ".join(f"{v:g}" for v in values) for values in (self.mean, self.std))
            text += f", then minus ({mean}) over ({std}) in the graph"
        return text


def settle(options: argparse.Namespace, metadata: Mapping[str, str]) -> Settings:
    """Combine the settings from options and file metadata; an option overrides its preset, a preset
    the file.

    Args:
        options: has labels, roles, preprocess, color, scale, offset, mean, std and margin, each
            None if not given.
        metadata: metadata from the file or from files beside it; may be empty. Its `channel_mean`
            and `channel_std` are three numbers each, separated by commas.

    Raises:
        ParameterError: a setting is missing or out of range.
    """
    labels = settle_labels(options.labels, metadata)
    preset = PRESETS[options.preprocess]._asdict() if options.preprocess else {}
    file: dict[str, object] = {key: metadata[key] for key in PIXELS if key in metadata}
    try:
        for key in {"channel_mean", "channel_std"} & set(metadata):
            file[key.removeprefix("channel_")] = read_channels(metadata[key])
    except argparse.ArgumentTypeError as error:
        raise _wrong_number(error) from error
    given = {key: getattr(options, key) for key in PIXELS}
    known = {**file, **preset, **{k: v for k, v in given.items() if v is not None}}
    mean, std = _channels(options, known)
    missing = [f"--{key}" for key in given if key not in known]
    if missing:
        raise ParameterError(
            f"{', '.join(missing)} must be given, or --preprocess with one of "
            f"{', '.join(PRESETS)}: the preprocessing in training; or --settings auto, to let the "
            "shipped classifier find it"
        )
    try:
        margin = float(metadata.get("margin", 0) if options.margin is None else options.margin)
        scale, offset = float(known["scale"]), float(known["offset"])
    except ValueError as error:
        raise _wrong_number(error) from error
    if not 0 <= margin < math.inf:
        raise ParameterError(f"--margin must be 0 or more, got {margin}")
    roles = settle_roles(getattr(options, "roles", None), labels, metadata)
    return Settings(labels, str(known["color"]), scale, offset, margin, roles, mean, std)


def _wrong_number(error: Exception) -> ParameterError:
    return ParameterError(
        f"the file's own metadata has a wrong number ({error});"
        " give --color, --scale, --offset and --margin"
    )


def _channels(
    options: argparse.Namespace, known: dict[str, object]
) -> tuple[Channels | None, Channels | None]:
    """Mean and deviation of each channel; completes `known` if they imply the scale."""
    mean, std = getattr(options, "mean", None), getattr(options, "std", None)
    if mean is None and std is None:
        preset_mean, preset_std = known.pop("mean", None), known.pop("std", None)
        if options.scale is not None or options.offset is not None:
            return None, None
        return preset_mean, preset_std  # type: ignore[return-value]
    known.pop("mean", None), known.pop("std", None)
    mean, std = mean or (0.0,) * 3, std or (1.0,) * 3
    if not all(value > 0 for value in std):
        raise ParameterError(f"--std must be above 0, got {', '.join(map(str, std))}")
    # A deviation of at most 1 refers to values from 0 to 1, as in torchvision's Normalize.
    is_unit = max(std) <= 1 and max(map(abs, mean)) <= 1
    known.setdefault("scale", 1 / 255 if is_unit else 1.0)
    known.setdefault("offset", 0.0)
    known.setdefault("color", "RGB")
    return mean, std


def read_number(text: str) -> float:
    """Read a number in the classifier's preprocessing settings: finite, also written as a fraction
    such as 1/255.

    Raises:
        argparse.ArgumentTypeError: it is not a number.
    """
    above, _, below = text.partition("/")
    try:
        number = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a number such as 0.5 or 1/255, got {text!r}")
    return number


def read_channels(text: str) -> Channels:
    """Read a value of the classifier's preprocessing settings: one number for all colour channels,
    or one for each.

    Raises:
        argparse.ArgumentTypeError: there is neither one number nor three.
    """
    values = [read_number(part.strip()) for part in text.split(",")]
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"must be one number or three, got {text!r}")
    a, b, c = values * (3 // len(values))
    return a, b, c
