"""What a classifier's file says about feeding it, and the options for that."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mask_detector_ros.errors import ParameterError


class Preset(NamedTuple):
    """How a family of networks is fed: input = pixel * scale + offset."""

    color: str
    scale: float
    offset: float


PRESETS = {
    "mobilenet_v2": Preset("RGB", 1 / 127.5, -1.0),
    "unit": Preset("RGB", 1 / 255, 0.0),
    "none": Preset("RGB", 1.0, 0.0),
}
"""`mobilenet_v2` also serves MobileNet, Inception, Xception and ResNetV2; `none` serves
EfficientNet and networks with a Rescaling layer of their own.
Source: `preprocess_input` of each, https://keras.io/api/applications/."""


@dataclass(frozen=True)
class Settings:
    """Labels in the order of the outputs, and preprocessing; see models/README.md."""

    labels: tuple[str, ...]
    color: str
    scale: float
    offset: float
    margin: float

    def to_metadata(self, layout: str, side: int) -> dict[str, str]:
        """As ONNX metadata.

        Args:
            layout: `NHWC` or `NCHW`.
            side: of the crops in pixels.
        """
        return {
            "labels": json.dumps(list(self.labels)),
            "margin": str(self.margin),
            "color": self.color,
            "layout": layout,
            "scale": str(self.scale),
            "offset": str(self.offset),
            "input_size": str(side),
        }


def settle(options: argparse.Namespace, metadata: Mapping[str, str]) -> Settings:
    """Combine the options with what the file says already; an option wins over its preset,
    a preset over the file.

    Args:
        options: has labels, preprocess, color, scale, offset and margin, each None if not given.
        metadata: of the file; empty for all but ONNX.

    Raises:
        ParameterError: something is not known, or out of range.
    """
    labels = options.labels or _labels_of_file(metadata)
    if labels is None:
        raise ParameterError(
            "--labels is needed: the names of the model's outputs in their order,"
            " for example --labels with_mask,without_mask"
        )
    preset = PRESETS[options.preprocess]._asdict() if options.preprocess else {}
    file = {key: metadata[key] for key in ("color", "scale", "offset") if key in metadata}
    given = {key: getattr(options, key) for key in ("color", "scale", "offset")}
    known = {**file, **preset, **{k: v for k, v in given.items() if v is not None}}
    missing = [f"--{key}" for key in given if key not in known]
    if missing:
        raise ParameterError(
            f"{', '.join(missing)} must be given, or --preprocess with one of"
            f" {', '.join(PRESETS)}: what the model was trained with"
        )
    try:
        margin = float(metadata.get("margin", 0) if options.margin is None else options.margin)
        scale, offset = float(known["scale"]), float(known["offset"])
    except ValueError as error:
        raise ParameterError(
            f"the file's own metadata has a wrong number ({error});"
            " give --color, --scale, --offset and --margin"
        ) from error
    if not 0 <= margin < math.inf:
        raise ParameterError(f"--margin must be 0 or more, got {margin}")
    return Settings(read_labels(labels), str(known["color"]), scale, offset, margin)


def _labels_of_file(metadata: Mapping[str, str]) -> str | None:
    try:
        return ",".join(map(str, json.loads(metadata["labels"]))) if "labels" in metadata else None
    except (ValueError, TypeError) as error:
        raise ParameterError(
            "the file's own metadata has unusable labels; give --labels"
        ) from error


def read_labels(text: str) -> tuple[str, ...]:
    """Names from `a,b,c`.

    Raises:
        ParameterError: one is empty or there twice, or there is only one.
    """
    labels = tuple(name.strip() for name in text.split(","))
    if len(labels) < 2 or not all(labels) or len(set(labels)) < len(labels):
        raise ParameterError(f"--labels takes two or more different names, got {text!r}")
    return labels


def read_number(text: str) -> float:
    """A finite number, also written as a fraction such as 1/255.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    above, _, below = text.partition("/")
    try:
        number = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a number such as 0.5 or 1/255, got {text!r}")
    return number
