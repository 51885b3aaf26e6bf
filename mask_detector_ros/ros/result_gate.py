# SPDX-License-Identifier: Apache-2.0
"""Result gate for lossless playback: hold the next frame until the detections of the last have
arrived."""

import threading
import time

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from vision_msgs.msg import Detection2DArray

RESULT_TIMEOUT = 30.0
"""Timeout for the detections of a frame, in seconds."""


class ResultGate:
    """Subscribes to `detections` for a node whose thread publishes images, and holds the next image
    back."""

    def __init__(self, node: Node, qos: QoSProfile) -> None:
        self._node = node
        self._came = threading.Event()
        self._stamp: Time | None = None
        node.create_subscription(Detection2DArray, "detections", self._on_detections, qos)

    def expect(self, stamp: Time) -> None:
        """Expect the result of the frame with this stamp; call before publishing it."""
        self._came.clear()
        self._stamp = stamp

    def wait(self, stopping: threading.Event, name: str) -> bool:
        """Wait for the result of the expected frame or the end of the process; on a timeout warn
        and return False."""
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


def has_reliable_subscriber(node: Node, publisher: Publisher) -> bool:
    """Whether the gated publisher is matched with all known subscribers, a reliable one among them.

    The detector first subscribes with best effort, until it knows the publishers' QoS.
    """
    infos = node.get_subscriptions_info_by_topic(publisher.topic_name)
    has_all = publisher.get_subscription_count() >= len(infos)
    return has_all and any(i.qos_profile.reliability == ReliabilityPolicy.RELIABLE for i in infos)
