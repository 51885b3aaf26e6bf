# SPDX-License-Identifier: Apache-2.0
"""Images are received whatever the publishers' QoS; if they cannot be, the reason is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from waiting import wait_until

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from mask_detector_ros.ros.subscription import ImageSubscription

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Listener:
    """A node with an ImageSubscription, spun by the test."""

    def __init__(self, context: Any, *arguments: str) -> None:
        self.node = rclpy.create_node(
            "listener", context=context, cli_args=["--ros-args", *arguments]
        )
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self.heard: list[Any] = []

    def subscribe(self, transport: str = "auto") -> ImageSubscription:
        self.subscription = ImageSubscription(
            self.node, "image_raw", self.heard.append, transport, "auto"
        )
        return self.subscription

    def wait_until(self, condition: Callable[[], Any], what: str = "") -> None:
        wait_until(lambda: self._executor.spin_once(timeout_sec=0.05) or condition(), what=what)

    def wait_for_text(self, text: str) -> None:
        self.wait_until(lambda: text in self.subscription.describe_publishers(), text)


@pytest.fixture
def make_listener(graph: Any) -> Iterator[Callable[..., Listener]]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=graph.domain)
    yield lambda *arguments: Listener(context, *arguments)
    context.try_shutdown()


@pytest.fixture
def camera(graph: Any) -> Any:
    return graph.client("camera").node


def test_auto_takes_compressed_images_where_no_node_publishes_raw_ones(
    make_listener: Callable[..., Listener], camera: Any
) -> None:
    compressed = camera.create_publisher(CompressedImage, "/image_raw/compressed", BEST_EFFORT)
    listener = make_listener()
    listener.subscribe()
    listener.wait_until(lambda: compressed.publish(CompressedImage()) or listener.heard)
    assert isinstance(listener.heard[-1], CompressedImage)

    raw = camera.create_publisher(Image, "/image_raw", BEST_EFFORT)
    listener.wait_until(
        lambda: raw.publish(Image()) or isinstance(listener.heard[-1], Image), "the raw images"
    )
    assert listener.subscription.topic == "/image_raw"

    camera.destroy_publisher(raw)
    listener.wait_until(
        lambda: (
            compressed.publish(CompressedImage()) or isinstance(listener.heard[-1], CompressedImage)
        ),
        "the compressed images again",
    )


def test_auto_takes_a_topic_that_is_itself_compressed(
    make_listener: Callable[..., Listener], camera: Any
) -> None:
    publisher = camera.create_publisher(CompressedImage, "/camera/jpeg", BEST_EFFORT)
    listener = make_listener("-r", "image_raw:=/camera/jpeg")
    listener.subscribe()
    listener.wait_until(lambda: publisher.publish(CompressedImage()) or listener.heard)


@pytest.mark.parametrize(
    "remapping", ["image_raw:=/front/image", "image_raw/compressed:=/front/image/compressed"]
)
def test_the_compressed_topic_follows_its_remapping_or_that_of_the_raw_one(
    make_listener: Callable[..., Listener], camera: Any, remapping: str
) -> None:
    topic = "/front/image/compressed"
    publisher = camera.create_publisher(CompressedImage, topic, BEST_EFFORT)
    listener = make_listener("-r", remapping)
    assert listener.subscribe("compressed").topic == topic
    listener.wait_until(lambda: publisher.publish(CompressedImage()) or listener.heard)


def test_a_latched_image_from_before_the_start_is_received(
    make_listener: Callable[..., Listener], camera: Any
) -> None:
    publisher = camera.create_publisher(Image, "/image_raw", LATCHED)
    publisher.publish(Image(width=7))
    listener = make_listener()
    listener.subscribe()
    listener.wait_until(lambda: listener.heard, "the latched image")
    assert listener.heard[0].width == 7


@pytest.mark.parametrize(
    ("transport", "kind", "topic", "advice"),
    [
        ("raw", CompressedImage, "/image_raw/compressed", "set image_transport to compressed"),
        ("compressed", Image, "/image_raw", "set image_transport to raw or auto"),
        ("auto", String, "/image_raw", "it has the type std_msgs/msg/String"),
        ("auto", Image, "/color/image", "images are on /color/image: remap image_raw"),
        ("auto", Image, "/mask_detector/image_annotated", "no node publishes images"),
        ("raw", CompressedImage, "/image_raw", "it has the type sensor_msgs/msg/CompressedImage"),
    ],
)
def test_what_is_there_instead_is_told_with_the_argument_that_takes_it(
    make_listener: Callable[..., Listener],
    camera: Any,
    transport: str,
    kind: type,
    topic: str,
    advice: str,
) -> None:
    camera.create_publisher(kind, topic, BEST_EFFORT)
    listener = make_listener()
    listener.subscribe(transport)
    listener.wait_for_text(advice)


def test_without_any_images_the_camera_is_asked_for(
    make_listener: Callable[..., Listener],
) -> None:
    listener = make_listener()
    assert "nobody publishes it; no node publishes images" in (
        listener.subscribe().describe_publishers()
    )
