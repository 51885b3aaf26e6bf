"""A subscription to images that suits whoever publishes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

MATCH_PERIOD = 0.5
"""Seconds between two looks at the publishers."""


class ImageSubscription:
    """Keeps one image, as reliable as all publishers of the topic offer.

    A subscription that asks for more than a publisher offers gets nothing; one that asks for
    less loses images that are sent in pieces. So this one looks at the publishers and
    subscribes anew when they change.
    """

    def __init__(
        self, node: Node, message_type: type, topic: str, callback: Callable[[Any], None]
    ) -> None:
        self._node = node
        self._message_type = message_type
        self._callback = callback
        self._reliability = self._offered(topic) or ReliabilityPolicy.BEST_EFFORT
        self._subscription = self._subscribe(topic)
        self.topic: str = self._subscription.topic_name
        self._timer = node.create_timer(MATCH_PERIOD, self._match)

    def describe_publishers(self) -> str:
        """Who publishes the topic and how, in words."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        if not publishers:
            return "nobody publishes it"
        return "published by " + ", ".join(
            f"{p.node_namespace.rstrip('/')}/{p.node_name} ({p.topic_type},"
            f" {p.qos_profile.reliability.name.lower()})"
            for p in publishers
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

    def _offered(self, topic: str) -> ReliabilityPolicy | None:
        """What all publishers offer; None while there are none."""
        publishers = self._node.get_publishers_info_by_topic(topic)
        offers = {p.qos_profile.reliability for p in publishers}
        if not offers:
            return None
        reliable = offers == {ReliabilityPolicy.RELIABLE}
        return ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT

    def _match(self) -> None:
        offered = self._offered(self.topic)
        if offered is not None and offered != self._reliability:
            self._reliability = offered
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe(self.topic)
