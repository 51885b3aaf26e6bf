# SPDX-License-Identifier: Apache-2.0
"""Greet every person once, according to the mask label from `mask_detector`."""

import contextlib

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

GREETINGS = {
    "with_mask": "Welcome, and thank you for the mask.",
    "without_mask": "Welcome. Please put on a mask.",
    "mask_worn_incorrectly": "Welcome. Please pull the mask over your nose.",
}
MIN_PROBABILITY = 0.8


class Greeter(Node):
    """Turns detections into sentences on the topic `say`."""

    def __init__(self) -> None:
        super().__init__("greeter")
        self._greeted: set[str] = set()
        self._say = self.create_publisher(String, "say", 10)
        self.create_subscription(Detection2DArray, "detections", self._greet, 10)

    def _greet(self, message: Detection2DArray) -> None:
        for detection in message.detections:
            best = detection.results[0].hypothesis
            is_new = detection.id not in self._greeted
            if is_new and best.score >= MIN_PROBABILITY and best.class_id in GREETINGS:
                self._greeted.add(detection.id)
                self._say.publish(String(data=GREETINGS[best.class_id]))


def main() -> None:
    """Spin the node until it is stopped."""
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(Greeter())


if __name__ == "__main__":
    main()
