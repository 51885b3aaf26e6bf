# SPDX-License-Identifier: Apache-2.0
"""The other processes of the latency measurement: a camera, a copying node, and a viewer.

    python -m benchmark.latency_process camera TOPIC WIDTH HEIGHT
    python -m benchmark.latency_process copy
    python -m benchmark.latency_process view TOPIC

The camera waits for lines `RATE SECONDS` on its standard input. It publishes at that rate for that
time, then answers with a line of JSON: the stamps in nanoseconds.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from benchmark.ros_client import scene_messages
from mask_detector_ros.ros.messages import nanoseconds

SCENE_FRAMES = 20
"""Number of frames rendered in advance: 120 MB of messages at 1920x1080."""


def camera(topic: str, width: str, height: str) -> None:
    """Process of the latency benchmark: publish the sample scene on request, stamping each image
    just before."""
    node = rclpy.create_node("camera", namespace=topic.rpartition("/")[0] or "/")
    images = node.create_publisher(Image, topic, QoSProfile(depth=5))
    messages = scene_messages(int(width), int(height), SCENE_FRAMES)
    print("ready", flush=True)
    for line in sys.stdin:
        rate, seconds = map(float, line.split())
        stamps = []
        due = time.monotonic()
        for i in range(round(rate * seconds)):
            time.sleep(max(0.0, due - time.monotonic()))
            # After a stall continue at the normal rate, without a burst to catch up.
            due = max(due + 1 / rate, time.monotonic())
            message = messages[i % SCENE_FRAMES]
            message.header.stamp = node.get_clock().now().to_msg()
            images.publish(message)
            stamps.append(nanoseconds(message.header.stamp))
        print(json.dumps(stamps), flush=True)


class CopyNode(Node):
    """Answers each image with an empty array, to measure the transport overhead."""

    def __init__(self) -> None:
        super().__init__("mask_detector")
        self._detections = self.create_publisher(Detection2DArray, "~/detections", 10)
        self.create_subscription(Image, "image_raw", self._copy, 1)

    def _copy(self, message: Image) -> None:
        self._detections.publish(Detection2DArray(header=message.header))


def copy() -> None:
    """Process of the latency benchmark: run the copying node."""
    rclpy.spin(CopyNode())


def view(topic: str) -> None:
    """Process of the latency benchmark: subscribe to images like a viewer."""
    node = rclpy.create_node("viewer")
    node.create_subscription(Image, topic, lambda message: None, 1)
    rclpy.spin(node)


ROLES: dict[str, Callable[..., Any]] = {"camera": camera, "copy": copy, "view": view}


def main(argv: Sequence[str]) -> None:
    """Play one role until its input ends or a signal arrives."""
    role, *arguments = argv
    rclpy.init()
    with contextlib.suppress(ExternalShutdownException, KeyboardInterrupt):
        ROLES[role](*arguments)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
