# SPDX-License-Identifier: Apache-2.0
"""Watchdog: a heartbeat while the node works, and recovery when a frame is stuck."""

from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import Header

from mask_detector_ros.ros.subscription import STEADY_CLOCK

PERIOD = 1.0
"""Seconds between two heartbeats."""

PATIENCE = 3
"""Multiple of `frame_timeout` after which the node recovers from a stuck frame."""

MAX_RECOVERIES = 3
"""Maximum number of recoveries without a result in between: each leaks the stuck frame's thread and
models, since a thread cannot be ended from outside."""


class Watchdog:
    """Publishes `~/heartbeat` every second as long as no frame is stuck.

    Args:
        stuck_for: returns how long a frame has been in progress, in units of `frame_timeout`:
            0 for no frame, more than 1 for a stuck one.
        recover: recovers the node; None if it must not recover.
    """

    def __init__(
        self,
        node: Node,
        stuck_for: Callable[[], float],
        processed: Callable[[], int],
        recover: Callable[[], Callable[[], None] | None],
    ) -> None:
        self._node = node
        self._stuck_for, self._processed, self._recover = stuck_for, processed, recover
        self._recoveries = 0
        self._beats = node.create_publisher(Header, "~/heartbeat", 1)
        node.create_timer(PERIOD, self.check, clock=STEADY_CLOCK)

    def check(self) -> None:
        """Publish a heartbeat, or recover from a stuck frame."""
        stuck = self._stuck_for()
        if stuck <= 1:
            if self._processed():
                self._recoveries = 0
            self._beats.publish(Header(stamp=self._node.get_clock().now().to_msg()))
            return
        recover = self._recover()
        if stuck <= PATIENCE or recover is None or self._recoveries >= MAX_RECOVERIES:
            return
        self._recoveries += 1
        self._node.get_logger().error(
            f"a frame is stuck: reloading the models ({self._recoveries} of {MAX_RECOVERIES} "
            "attempts without a result)"
        )
        recover()
