# SPDX-License-Identifier: Apache-2.0
"""Start the nodes of a benchmark as processes, with a node in this process that talks to them."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from benchmark.processes import LIMIT, Processes, wait_for
from mask_detector_ros.ros.conversions import image_to_message
from mask_detector_ros.sources.sample_scene import SampleScene


class RosClient(Processes):
    """Processes, and a node of this process that a thread spins until `close`.

    Args:
        folder: folder for the processes' output and logs.
        name: name of the node.

    Attributes:
        node: the node.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder)
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def safely(self, change: Callable[..., Any], *arguments: Any) -> Any:
        """Create or destroy a part of the benchmark's ROS client between two iterations of its
        executor.

        Doing so in this thread would interrupt the executor in the middle of an iteration.
        """
        task = self._executor.create_task(change, *arguments)
        wait_for(task.done, "the client's own executor")
        return task.result()

    @contextlib.contextmanager
    def publishing(self, kind: type, topic: str, qos: QoSProfile | int = 1) -> Iterator[Any]:
        """Context with a publisher of the benchmark's ROS client."""
        publisher = self.safely(self.node.create_publisher, kind, topic, qos)
        try:
            yield publisher
        finally:
            self.safely(self.node.destroy_publisher, publisher)

    @contextlib.contextmanager
    def hearing(self, topics: Mapping[str, type]) -> Iterator[list[Any]]:
        """Context in which the benchmark's ROS client collects the messages on topics of these
        types in a list."""
        heard: list[Any] = []
        subscriptions = [
            self.safely(self.node.create_subscription, kind, topic, heard.append, 10)
            for topic, kind in topics.items()
        ]
        try:
            yield heard
        finally:
            for subscription in subscriptions:
                self.safely(self.node.destroy_subscription, subscription)

    def close(self) -> None:
        """End the ROS client of a benchmark and all running processes."""
        self._context.try_shutdown()
        self._thread.join(LIMIT)
        super().close()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()


def scene_messages(width: int, height: int, count: int) -> list[Image]:
    """Render `count` frames of the sample scene as messages for a benchmark's ROS client to
    publish, in advance, so that publishing costs little."""
    scene = SampleScene(width, height)
    return [
        image_to_message(scene.render(5 * index)[0], Header(frame_id="camera"))
        for index in range(count)
    ]
