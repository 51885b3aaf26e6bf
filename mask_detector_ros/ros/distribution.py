# SPDX-License-Identifier: Apache-2.0
"""Differences between ROS distributions, and private parts of rclpy.

No other file imports these from rclpy; a test compares all other names with each distribution's
list of public names.
"""

# ClockType has a separate module from Jazzy on, and is here in all distributions.
from rclpy.clock import ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

InvalidHandle = rclpy_implementation.InvalidHandle
RCLError = rclpy_implementation.RCLError
UnknownROSArgsError = rclpy_implementation.UnknownROSArgsError

__all__ = ["ClockType", "InvalidHandle", "RCLError", "UnknownROSArgsError", "count_nodes_called"]


def count_nodes_called(node: Node, name: str) -> int:
    """Number of nodes in the graph with this fully qualified name, by what this ROS distribution
    offers, including this one.

    Humble has no `get_fully_qualified_node_names`.
    """
    nodes = node.get_node_names_and_namespaces()
    return [f"{space.rstrip('/')}/{own}" for own, space in nodes].count(name)
