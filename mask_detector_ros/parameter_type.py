# SPDX-License-Identifier: Apache-2.0
"""Parameter: one parameter's type and allowed values, and the check of a given value."""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from mask_detector_ros.errors import ParameterError


@dataclass(frozen=True)
class Parameter:
    """One parameter and its allowed values.

    Attributes:
        name: the same in Python, in ROS and (with dashes) on the command line.
        default: also fixes the type: bool, int, float, str, or a tuple of floats.
        description: one sentence.
        limits: the least and the greatest number, inclusive; None for any.
        choices: the allowed values of a string; empty if any value is allowed.
        pattern, rule: a regular expression that a string must match, and its rule in words.
        is_list: whether a string holds comma-separated names; a list is accepted too.
        unit: unit of a number; may be empty.
        live: whether it can change while the node runs.
    """

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    rule: str = ""
    is_list: bool = False
    unit: str = ""
    live: bool = False

    def check(self, value: Any) -> Any:
        """Validate a value for the parameter and convert it to the parameter's type.

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
        are_allowed = all(self._is_allowed_number(number, float) for number in numbers)
        if len(numbers) != len(self.default) or not are_allowed:
            raise self._rejection(value)
        return tuple(float(number) for number in numbers)

    def _is_allowed_number(self, value: Any, kind: type) -> bool:
        """Whether a value is a Python or NumPy number of this type within the range.

        True and False do not count as numbers, although they are integers in Python.
        """
        numbers = Integral if kind is int else Real
        is_number = isinstance(value, numbers) and not isinstance(value, bool)
        # The comparisons are false for NaN, and the largest float excludes infinity.
        low, high = self.limits or (-sys.float_info.max, sys.float_info.max)
        return is_number and bool(low <= value <= high)

    def _rejection(self, value: Any) -> ParameterError:
        return ParameterError(f"{self.name} must be {self.allowed}, got {value!r}")

    @property
    def allowed(self) -> str:
        """The parameter's allowed values in words, for error messages and tables."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.rule:
            return self.rule
        if isinstance(self.default, tuple):
            words = f"{len(self.default)} numbers"
        else:
            names = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
            words = names[type(self.default)]
        if self.limits is not None:
            words += " from {:g} to {:g}".format(*self.limits)
        return words
