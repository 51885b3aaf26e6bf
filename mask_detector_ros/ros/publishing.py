# SPDX-License-Identifier: Apache-2.0
"""Publish messages that DDS may not be able to send."""

import contextlib
from collections.abc import Iterator

from rclpy.node import Node

from mask_detector_ros.ros.diagnostics import WARNING_PERIOD
from mask_detector_ros.ros.distribution import RCLError


@contextlib.contextmanager
def warn_if_unsent(node: Node) -> Iterator[None]:
    """Context for publishing a message: one that DDS does not send is dropped with a warning.

    DDS has no room for a message while a reliable subscriber is blocked. After the context was shut
    down, for example by a signal, there is no warning.
    """
    try:
        yield
    except RCLError as error:
        if node.context.ok():
            reason = str(error).splitlines()[0]
            node.get_logger().warning(
                f"a message is lost ({reason}): a subscriber with reliable QoS may be blocked",
                throttle_duration_sec=WARNING_PERIOD,
            )
