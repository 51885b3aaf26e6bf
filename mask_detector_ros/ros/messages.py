# SPDX-License-Identifier: Apache-2.0
"""Result messages as ROS classes; `result_messages` provides their content."""

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time

from mask_detector_ros.annotation_messages import AnnotationMessages
from mask_detector_ros.result_messages import ResultMessages


@cache
def _message_class(kind: str) -> tuple[Any, bool]:
    """The class of a message, and whether it can validate its fields (since Jazzy)."""
    package, _, name = kind.split("/")
    message_class = getattr(import_module(f"{package}.msg"), name)
    return message_class, "_check_fields" in message_class.__slots__


def make_message(kind: str, /, **fields: Any) -> Any:
    """Make a ROS message of a type, such as `std_msgs/msg/Header`, with all its fields given.

    It bypasses the constructor, which also creates every default that `fields` replaces: that takes
    0.6 of the time.
    """
    message_class, can_check = _message_class(kind)
    message = message_class.__new__(message_class)
    if can_check:
        message._check_fields = False
    for name, value in fields.items():
        setattr(message, name, value.tolist() if isinstance(value, np.ndarray) else value)
    return message


RESULTS = ResultMessages(make_message)
ANNOTATIONS = AnnotationMessages(make_message)


def nanoseconds(stamp: Time) -> int:
    """The stamp of a ROS message in nanoseconds, which, unlike rclpy's Time, may be negative."""
    total: int = stamp.sec * 10**9 + stamp.nanosec
    return total
