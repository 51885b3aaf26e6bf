# SPDX-License-Identifier: Apache-2.0
"""An image subscription that matches the topic's publishers."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from rclpy.clock import Clock
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from mask_detector_ros.ros.dds_environment import profile_variable
from mask_detector_ros.ros.distribution import ClockType
from mask_detector_ros.ros.shared_memory import shared_memory_hint

MATCH_PERIOD = 0.5
"""Seconds between two checks of the publishers."""

STEADY_CLOCK = Clock(clock_type=ClockType.STEADY_TIME)
"""For timers that must run while simulated time is stopped."""

_POLICIES = {
    "auto": None,
    "reliable": ReliabilityPolicy.RELIABLE,
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
}
RELIABILITIES = tuple(_POLICIES)
TRANSPORTS = ("auto", "raw", "compressed")

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
COMPRESSED_SUFFIX = "/compressed"
OWN_IMAGES = ("/image_annotated", "/image_private")
"""Ends of the topics of images that this node or another detector publishes."""

UNKNOWN_NODE = "_NODE_NAME_UNKNOWN_"
TOPICS_NAMED = 4
"""Maximum number of topics listed in a message."""


class Choice(NamedTuple):
    """The topic, type and QoS to subscribe to images with."""

    topic: str
    is_raw: bool
    reliability: ReliabilityPolicy
    durability: DurabilityPolicy


class ImageSubscription:
    """Subscribes to images and keeps one; chooses transport and QoS by what the publishers of a
    topic offer.

    A subscription that asks for more than a publisher offers receives nothing; one that asks for
    less loses images that are sent in fragments, or a latched image from before it started. So this
    subscription checks the publishers and resubscribes when they change.

    Args:
        topic: raw image topic; the compressed topic follows image_transport's naming.
        transport: one of `TRANSPORTS`; auto uses raw images if a node publishes them, and
            compressed ones otherwise.
        reliability: one of `RELIABILITIES`; auto uses what all publishers offer.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        callback: Callable[[Any], None],
        transport: str = "auto",
        reliability: str = "auto",
    ) -> None:
        self._node = node
        self._callback = callback
        self._base = node.resolve_topic_name(topic)
        # The remapped name of the raw topic, unless a remapping names the compressed topic itself.
        self._compressed = node.resolve_topic_name(topic + COMPRESSED_SUFFIX)
        if self._compressed == node.resolve_topic_name(topic + COMPRESSED_SUFFIX, only_expand=True):
            self._compressed = self._base + COMPRESSED_SUFFIX
        self._transport = transport
        self._fixed_reliability = _POLICIES[reliability]
        unknown = Choice(
            self._compressed if transport == "compressed" else self._base,
            transport != "compressed",
            self._fixed_reliability or ReliabilityPolicy.BEST_EFFORT,
            DurabilityPolicy.VOLATILE,
        )
        self._choice = self._wanted() or unknown
        self._subscription: Any = self._subscribe(self._choice)
        self._timer = node.create_timer(MATCH_PERIOD, self._match, clock=STEADY_CLOCK)

    @property
    def topic(self) -> str:
        """The name of the subscribed image topic."""
        return self._choice.topic

    def describe_publishers(self) -> str:
        """Describe the publishers of the subscribed image topic, and the remedy if it cannot be
        received."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        wanted = IMAGE if self._choice.is_raw else COMPRESSED
        if any(p.topic_type == wanted for p in publishers):
            return (
                "published by "
                + ", ".join(
                    f"{_full_name(p)} ({p.topic_type}, {p.qos_profile.reliability.name.lower()})"
                    for p in publishers
                )
                + f"; subscribed {self._choice.reliability.name.lower()}"
                + (f"; {hint}" if (hint := self._hint()) else "")
            )
        others = sorted({p.topic_type for p in publishers})
        there = f"it has the type {', '.join(others)}" if others else "nobody publishes it"
        return f"{there}; {self._suggest()}"

    def destroy(self) -> None:
        """Unsubscribe from the images."""
        self._node.destroy_timer(self._timer)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _hint(self) -> str:
        """Why images may not arrive although somebody publishes them; empty if nothing is known."""
        if hint := shared_memory_hint():
            return hint
        if self._choice.is_raw and self._choice.reliability == ReliabilityPolicy.BEST_EFFORT:
            return (
                "large images are lost unless their publisher was started with "
                f"{profile_variable(os.environ)} (config/shared_memory.xml)"
            )
        return ""

    def _suggest(self) -> str:
        if self._transport == "raw" and self._published(self._compressed, COMPRESSED):
            return f"{self._compressed} is published: set image_transport to compressed or auto"
        if self._transport == "compressed" and self._published(self._base, IMAGE):
            return f"{self._base} is published: set image_transport to raw or auto"
        name = self._node.get_fully_qualified_name()
        found = [
            topic
            for topic, types in self._node.get_topic_names_and_types()
            if {IMAGE, COMPRESSED} & set(types)
            and not topic.removesuffix(COMPRESSED_SUFFIX).endswith(OWN_IMAGES)
            and any(_full_name(p) != name for p in self._node.get_publishers_info_by_topic(topic))
        ]
        if not found:
            return "no node publishes images: is the camera running, with the same ROS_DOMAIN_ID?"
        more = ", ..." if len(found) > TOPICS_NAMED else ""
        return (
            f"images are on {', '.join(found[:TOPICS_NAMED])}{more}: remap image_raw to one of"
            " them (image:= of the launch file, or -r image_raw:=)"
        )

    def _subscribe(self, choice: Choice) -> Any:
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=1,
            reliability=choice.reliability,
            durability=choice.durability,
        )
        subscription = self._node.create_subscription(
            Image if choice.is_raw else CompressedImage, choice.topic, self._callback, qos
        )
        latched = choice.durability == DurabilityPolicy.TRANSIENT_LOCAL
        self._node.get_logger().info(
            f"subscribed to {choice.topic}, {choice.reliability.name.lower()}"
            + (", transient_local" if latched else "")
        )
        return subscription

    def _published(self, topic: str, kind: str) -> list[Any]:
        """The publishers of one type of message on a topic."""
        publishers = self._node.get_publishers_info_by_topic(topic)
        return [p for p in publishers if p.topic_type == kind]

    def _wanted(self) -> Choice | None:
        """The choice that matches the publishers; None while there are none."""
        topics = []
        if self._transport != "compressed":
            topics.append((self._base, True))
        if self._transport != "raw":
            topics.append((self._compressed, False))
        if self._transport == "auto":
            # A topic named with its transport.
            topics.append((self._base, False))
        for topic, is_raw in topics:
            publishers = self._published(topic, IMAGE if is_raw else COMPRESSED)
            if publishers:
                return Choice(topic, is_raw, *self._qos(publishers))
        return None

    def _qos(self, publishers: list[Any]) -> tuple[ReliabilityPolicy, DurabilityPolicy]:
        """The strictest policy that all publishers offer."""
        offers = {p.qos_profile.reliability for p in publishers}
        durabilities = {p.qos_profile.durability for p in publishers}
        reliable = offers == {ReliabilityPolicy.RELIABLE}
        latched = durabilities == {DurabilityPolicy.TRANSIENT_LOCAL}
        return (
            self._fixed_reliability
            or (ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT),
            DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

    def _match(self) -> None:
        wanted = self._wanted()
        if wanted is not None and wanted != self._choice:
            old = self._subscription
            if wanted.topic == self._choice.topic and wanted.is_raw != self._choice.is_raw:
                # A process cannot subscribe to a topic with two types.
                if old is not None:
                    self._node.destroy_subscription(old)
                self._subscription = old = None
            # In this order, a failure leaves the old subscription, and the next check tries again.
            subscription = self._subscribe(wanted)
            if old is not None:
                self._node.destroy_subscription(old)
            self._choice, self._subscription = wanted, subscription


def _full_name(endpoint: Any) -> str:
    """The full name of a publisher's node; ROS may know the publisher before its node."""
    if endpoint.node_name == UNKNOWN_NODE:
        return "an unknown node"
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
