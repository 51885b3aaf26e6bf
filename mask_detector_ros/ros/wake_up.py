"""A node that cannot sleep through a signal."""

from __future__ import annotations

from rclpy.node import Node

from mask_detector_ros.ros.subscription import STEADY_CLOCK

WAKE_PERIOD = 0.5
"""Seconds after which the executor looks at the latest whether a signal has come."""


def wake_regularly(node: Node) -> None:
    """Let the executor of a node without timers look up now and then.

    On a busy machine the wake-up that a signal sends is lost once in ten times or so (as `make
    soak` showed), and the executor then waits for ever on a context that is shut down.
    """
    node.create_timer(WAKE_PERIOD, lambda: None, clock=STEADY_CLOCK)
