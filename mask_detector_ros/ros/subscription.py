"""A subscription to images that suits whoever publishes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

MATCH_PERIOD = 0.5
"""Seconds between two looks at the publishers."""

STEADY_CLOCK = Clock(clock_type=ClockType.STEADY_TIME)
"""For what must go on while simulated time stands still."""

_POLICIES = {
    "auto": None,
    "reliable": ReliabilityPolicy.RELIABLE,
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
}
RELIABILITIES = tuple(_POLICIES)


class ImageSubscription:
    """Keeps one image, as reliable as all publishers of the topic offer, or as it is told.

    A subscription that asks for more than a publisher offers gets nothing; one that asks for
    less loses images that are sent in pieces. So this one looks at the publishers and
    subscribes anew when they change.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None],
        reliability: str = "auto",
    ) -> None:
        """`reliability` is one of `RELIABILITIES`."""
        self._node = node
        self._message_type = message_type
        self._callback = callback
        self._told = _POLICIES[reliability]
        self._reliability = self._wanted(topic) or ReliabilityPolicy.BEST_EFFORT
        self._subscription = self._subscribe(topic)
        self.topic: str = self._subscription.topic_name
        self._timer = node.create_timer(MATCH_PERIOD, self._match, clock=STEADY_CLOCK)

    def describe_publishers(self) -> str:
        """Who publishes the topic and how, in words."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        if not publishers:
            return "nobody publishes it"
        return (
            "published by "
            + ", ".join(
                f"{p.node_namespace.rstrip('/')}/{p.node_name} ({p.topic_type},"
                f" {p.qos_profile.reliability.name.lower()})"
                for p in publishers
            )
            + f"; subscribed {self._reliability.name.lower()}"
        )

    def destroy(self) -> None:
        """Stop receiving."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self, topic: str) -> Any:
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=1,
            reliability=self._reliability,
            durability=DurabilityPolicy.VOLATILE,
        )
        subscription = self._node.create_subscription(
            self._message_type, topic, self._callback, qos
        )
        self._node.get_logger().info(
            f"subscribed to {subscription.topic_name}, {self._reliability.name.lower()}"
        )
        return subscription

    def _wanted(self, topic: str) -> ReliabilityPolicy | None:
        """What we were told, or what all publishers offer; None while there are none."""
        if self._told is not None:
            return self._told
        publishers = self._node.get_publishers_info_by_topic(topic)
        offers = {p.qos_profile.reliability for p in publishers}
        if not offers:
            return None
        reliable = offers == {ReliabilityPolicy.RELIABLE}
        return ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT

    def _match(self) -> None:
        wanted = self._wanted(self.topic)
        if wanted is not None and wanted != self._reliability:
            self._reliability = wanted
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe(self.topic)
