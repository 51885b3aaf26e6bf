# SPDX-License-Identifier: Apache-2.0
"""Names and topics of several cameras, as the node's parameters and the launch file give them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rclpy.node import Node

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.ros.node_parameters import split_names
from mask_detector_ros.ros.result_publishers import TOPICS


class CameraTopics(NamedTuple):
    """A camera's name and topics.

    Attributes:
        name: empty for the single camera.
        image: its image topic.
        depth: its depth topic; empty if it has none.
    """

    name: str
    image: str
    depth: str


def count_of(number: int, what: str) -> str:
    """A number of things of the cameras in words, such as `1 topic` or `2 topics`."""
    return f"{number} {what}" + "s" * (number != 1)


def assign_topics(node: Node, values: Mapping[str, Any]) -> list[CameraTopics]:
    """Assign topics to the cameras named by the node's parameters, or to the single unnamed one.

    Raises:
        ParameterError: the parameters contradict each other, or a topic is a result of the node.
    """
    names = split_names(values["cameras"]) or [""]

    def spread(parameter: str) -> list[str]:
        topics = split_names(values[parameter])
        if topics and len(topics) != len(names):
            raise ParameterError(
                f"{parameter} has {count_of(len(topics), 'topic')} for"
                f" {count_of(len(names), 'camera')}; give one for each, or none"
            )
        require_distinct(parameter, [node.resolve_topic_name(topic) for topic in topics])
        return topics or [""] * len(names)

    images, depths = spread("camera_topics"), spread("depth_topics")
    images = [
        image or (f"{name}/image_raw" if name else "image_raw")
        for name, image in zip(names, images, strict=True)
    ]
    full_names = [node.resolve_topic_name(image) for image in images]
    require_distinct("cameras", full_names)
    places = [results_namespace(node, name) for name in names]
    results = {node.resolve_topic_name(f"{place}/{topic}") for place in places for topic in TOPICS}
    for full_name in full_names:
        if full_name in results:
            raise ParameterError(
                f"the image topic {full_name} is a result of this node; give the camera's topic"
            )
    return [CameraTopics(*of_one) for of_one in zip(names, images, depths, strict=True)]


def results_namespace(node: Node, camera: str) -> str:
    """The namespace of the topics of a camera's results, relative to the node's."""
    return f"{camera}/{node.get_name()}" if camera else "~"


def require_distinct(parameter: str, values: Sequence[str]) -> None:
    """Raise ParameterError if a parameter or argument gives one topic or name to two cameras."""
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ParameterError(f"{parameter} gives {value} to two cameras; give each its own")
