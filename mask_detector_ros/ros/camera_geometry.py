# SPDX-License-Identifier: Apache-2.0
"""Camera geometry: calibration and depth of one camera, received only while positions are
wanted."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from mask_detector_ros.ros.messages import nanoseconds
from mask_detector_ros.ros.subscription import MATCH_PERIOD, STEADY_CLOCK

DEPTHS_KEPT = 15
"""Maximum number of depth images that wait for their colour image's detections: half a second."""

MAX_OFFSET = 50_000_000
"""Maximum nanoseconds between the stamps of a colour image and its depth."""


class CameraGeometry:
    """Subscribes to `camera_info` beside an image topic, and to a depth topic.

    Args:
        image_topic: resolved name of the raw image topic.
        depth_topic: topic of depth registered to the colour images; empty for none.
        is_wanted: whether to subscribe now; polled every half second.
    """

    def __init__(
        self, node: Node, image_topic: str, depth_topic: str, is_wanted: Callable[[], bool]
    ) -> None:
        self._node = node
        self._topics: dict[str, tuple[type, Callable[[Any], None]]] = {
            f"{image_topic.rpartition('/')[0]}/camera_info": (CameraInfo, self._on_info)
        }
        if depth_topic:
            self._topics[depth_topic] = (Image, self._on_depth)
        self._is_wanted = is_wanted
        self._subscriptions: list[Any] = []
        self._lock = threading.Lock()
        self._info: CameraInfo | None = None
        self._depths: deque[Image] = deque(maxlen=DEPTHS_KEPT)
        self.is_rectified = "rect" in image_topic.rpartition("/")[2]
        self._timer = node.create_timer(MATCH_PERIOD, self._match, clock=STEADY_CLOCK)

    def at(self, stamp: int) -> tuple[CameraInfo | None, Image | None]:
        """The camera's calibration, and the depth with the nearest stamp (nanoseconds), if near
        enough."""
        with self._lock:
            offsets = [(abs(nanoseconds(d.header.stamp) - stamp), d) for d in self._depths]
            info = self._info
        offset, depth = min(offsets, key=lambda pair: pair[0], default=(MAX_OFFSET + 1, None))
        return info, depth if offset <= MAX_OFFSET else None

    def destroy(self) -> None:
        """Stop receiving the camera's calibration and depth."""
        self._node.destroy_timer(self._timer)
        self._unsubscribe()

    def _on_info(self, message: CameraInfo) -> None:
        with self._lock:
            self._info = message

    def _on_depth(self, message: Image) -> None:
        with self._lock:
            self._depths.append(message)

    def _match(self) -> None:
        if not self._is_wanted():
            self._unsubscribe()
            return
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        # One by one: what a failed creation leaves out, the next check adds.
        for topic, (kind, callback) in list(self._topics.items())[len(self._subscriptions) :]:
            self._subscriptions.append(self._node.create_subscription(kind, topic, callback, qos))

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        with self._lock:
            self._depths.clear()
