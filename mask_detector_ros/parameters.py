# SPDX-License-Identifier: Apache-2.0
"""The detector's parameter table, shared by Python keywords, command options and ROS.

The node adds more in `mask_detector_ros.ros.parameters`. Both tables generate
`config/mask_detector.yaml` and the docs' page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.imaging.annotate import PRIVACY
from mask_detector_ros.imaging.image_size import MAX_IMAGE_PIXELS
from mask_detector_ros.inference import BACKENDS


@dataclass(frozen=True)
class Parameter:
    """A parameter and its allowed values.

    Attributes:
        name: the same in Python, in ROS and (with dashes) on the command line.
        default: also fixes the type: bool, int, float, str, or a tuple of floats.
        description: one sentence.
        minimum, maximum: the range of a number, inclusive; both or neither.
        choices: the allowed values of a string; empty if any value is allowed.
        pattern, rule: a regular expression that a string must match, and its rule in words.
        is_list: whether a string holds comma-separated names; a list is accepted too.
        unit: unit of a number; may be empty.
        live: whether it can change while the node runs.
    """

    name: str
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    rule: str = ""
    is_list: bool = False
    unit: str = ""
    live: bool = False

    def check(self, value: Any) -> Any:
        """Validate `value` and convert it to the parameter's type.

        Raises:
            ParameterError: wrong type or out of range; the message names what is allowed.
        """
        if isinstance(self.default, tuple):
            return self._check_numbers(value)
        kind = type(self.default)
        if kind in (int, float):
            if not self._is_allowed_number(value, kind):
                raise self._rejection(value)
            return kind(value)
        if value is False and "off" in self.choices:
            # YAML reads `off` as false, also in `-p privacy:=off`.
            return "off"
        if self.is_list and isinstance(value, list | tuple):
            if not all(isinstance(name, str) for name in value):
                raise self._rejection(value)
            value = ",".join(value)
        if not isinstance(value, kind) or (self.choices and value not in self.choices):
            raise self._rejection(value)
        if self.pattern and not re.fullmatch(self.pattern, value, re.ASCII):
            raise self._rejection(value)
        return value

    def _check_numbers(self, value: Any) -> tuple[float, ...]:
        if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
            raise self._rejection(value)
        numbers = tuple(value)
        if len(numbers) != len(self.default):
            raise self._rejection(value)
        if not all(self._is_allowed_number(number, float) for number in numbers):
            raise self._rejection(value)
        return tuple(float(number) for number in numbers)

    def _is_allowed_number(self, value: Any, kind: type) -> bool:
        """Whether a value is a Python or NumPy number of this type within the range.

        True and False do not count as numbers, although they are integers in Python.
        """
        numbers = Integral if kind is int else Real
        is_number = isinstance(value, numbers) and not isinstance(value, bool)
        # The comparisons are false for NaN, and the largest float excludes infinity.
        low = -sys.float_info.max if self.minimum is None else self.minimum
        high = sys.float_info.max if self.maximum is None else self.maximum
        return is_number and bool(low <= value <= high)

    def _rejection(self, value: Any) -> ParameterError:
        return ParameterError(f"{self.name} must be {self.allowed}, got {value!r}")

    @property
    def allowed(self) -> str:
        """The allowed values in words, for error messages and tables."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.rule:
            return self.rule
        if isinstance(self.default, tuple):
            words = f"{len(self.default)} numbers"
        else:
            names = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
            words = names[type(self.default)]
        if self.minimum is not None and self.maximum is not None:
            words += f" from {self.minimum:g} to {self.maximum:g}"
        return words


DETECTOR_PARAMETERS = (
    Parameter(
        "backend",
        "auto",
        "Inference library. auto starts on the CPU and, where there is a GPU, switches to TensorRT "
        "or else CUDA (ONNX Runtime) as soon as it is ready.",
        choices=("auto", *BACKENDS),
    ),
    Parameter(
        "precision",
        "auto",
        "Precision of the classifier in TensorRT. auto takes fp16, or fp32 where fp16 disagrees. "
        "The networks that place faces always compute in fp32.",
        choices=("auto", "fp32", "fp16"),
    ),
    Parameter(
        "engine_cache_dir",
        "",
        "Folder of the TensorRT engine cache; empty means ~/.cache/mask_detector_ros/engines.",
    ),
    Parameter(
        "device",
        0,
        "Number of the GPU to use.",
        minimum=0,
        maximum=63,
    ),
    Parameter(
        "threads",
        0,
        "CPU threads for inference; 0 takes all cores that the process may use.",
        minimum=0,
        maximum=256,
    ),
    Parameter(
        "detector_model",
        "mtcnn_two_stage",
        "Face detector: mtcnn_two_stage (one pass and one crop a face, labels included), "
        "mtcnn_masked (three stages, trained for masks too), mtcnn (three stages, the public "
        "weights), a folder with the ONNX files of the stages, or the file of a whole cascade.",
    ),
    Parameter(
        "classifier_model",
        "auto",
        "Mask classifier: auto (the detector's own labels, or mask_classifier where it gives "
        "none), a name in models.yaml, or the path of an ONNX file.",
    ),
    Parameter(
        "min_face_size",
        20,
        "Smallest face to search for; the cost falls with its square.",
        minimum=12,
        maximum=2000,
        unit="px",
        live=True,
    ),
    Parameter(
        "pyramid_factor",
        0.709,
        "Scale between two pyramid levels of the three-stage detectors; smaller is faster and "
        "finds fewer faces.",
        minimum=0.3,
        maximum=0.95,
        live=True,
    ),
    Parameter(
        "detection_thresholds",
        (0.6, 0.7, 0.7),
        "Score thresholds of the three stages; mtcnn_two_stage takes the first and the last.",
        minimum=0.0,
        maximum=1.0,
        live=True,
    ),
    Parameter(
        "max_faces",
        100,
        "Maximum number of faces per image, best scores first; 0 means no limit.",
        minimum=0,
        maximum=10000,
        live=True,
    ),
    Parameter(
        "max_candidates",
        500,
        "Maximum number of face candidates per image that the later stages examine, best scores "
        "first: it bounds the time and memory of a frame.",
        minimum=10,
        maximum=10000,
        live=True,
    ),
    Parameter(
        "max_image_pixels",
        MAX_IMAGE_PIXELS,
        "Maximum width times height of an image; a larger one is rejected, a compressed one before "
        "it is decoded.",
        minimum=4096,
        maximum=1_000_000_000,
        unit="px",
        live=True,
    ),
    Parameter(
        "margin",
        -1.0,
        "Context around a face in the classifier's crop, as a fraction of the longer side of the "
        "box; a negative value takes the margin that the classifier was trained with.",
        minimum=-1.0,
        maximum=2.0,
        live=True,
    ),
)

TRACKING_PARAMETERS = (
    Parameter(
        "tracking",
        True,
        "Follow people from frame to frame: track ids, ages, unique people, alerts.",
        live=True,
    ),
    Parameter(
        "smoothing",
        1.0,
        "Time over which observations count for the label of a track; 0 shows the label of each "
        "frame alone.",
        minimum=0.0,
        maximum=60.0,
        unit="s",
        live=True,
    ),
    Parameter(
        "search_every",
        1,
        "Run full-frame detection on every Nth frame and search only near known faces in between. "
        "Larger is faster but delays new faces by up to N-1 frames.",
        minimum=1,
        maximum=100,
        live=True,
    ),
)

DRAWING_PARAMETERS = (
    Parameter(
        "privacy",
        "off",
        "How to hide faces in annotated images.",
        choices=PRIVACY,
        live=True,
    ),
)


def check_parameters(table: Iterable[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete and validate parameters: the given value or the default of each.

    Raises:
        ParameterError: an unknown name, a wrong type, or a value out of range.
    """
    known = {parameter.name: parameter for parameter in table}
    for name in given:
        if name not in known:
            raise ParameterError(f"unknown parameter {name}; there are {', '.join(known)}")
    return {
        name: parameter.check(given[name]) if name in given else parameter.default
        for name, parameter in known.items()
    }
