"""Playing a file without loss: the next frame goes out when detections of the last one came."""

from __future__ import annotations

import threading
import time

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from vision_msgs.msg import Detection2DArray

RESULT_TIMEOUT = 30.0
"""Seconds that the detections of a frame may take."""


class ResultGate:
    """Subscribes to `detections` for a node whose own thread publishes images."""

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        self._node = node
        self._came = threading.Event()
        self._stamp: Time | None = None
        node.create_subscription(Detection2DArray, "detections", self._on_detections, qos)

    def expect(self, stamp: Time) -> None:
        """Call before the frame of that stamp is published."""
        self._came.clear()
        self._stamp = stamp

    def wait(self, stopping: threading.Event, name: str) -> bool:
        """Wait for its detections, or the end of the process; False, with a warning, for none."""
        end = time.monotonic() + RESULT_TIMEOUT
        while not self._came.wait(0.1) and not stopping.is_set():
            if time.monotonic() > end:
                self._node.get_logger().warning(
                    f"no detections of {name} came in {RESULT_TIMEOUT:g} s"
                )
                return False
        return True

    def _on_detections(self, message: Detection2DArray) -> None:
        if message.header.stamp == self._stamp:
            self._came.set()


def has_reliable_subscriber(node: Node, topic: str) -> bool:
    """Whether somebody reads the topic who loses nothing.

    The detector first subscribes with best effort, until it knows what is published.
    """
    infos = node.get_subscriptions_info_by_topic(topic)
    return any(info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in infos)
