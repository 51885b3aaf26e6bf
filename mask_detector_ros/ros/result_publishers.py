# SPDX-License-Identifier: Apache-2.0
"""The publishers of one camera's results."""

from contextlib import ExitStack
from typing import Any

import numpy as np
from foxglove_msgs.msg import ImageAnnotations
from numpy.typing import NDArray
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.msg import FaceArray, MaskAlert, MaskSummary
from mask_detector_ros.ros.conversions import image_to_compressed, image_to_message

TOPICS: dict[str, type] = {
    "detections": Detection2DArray,
    "faces_3d": Detection3DArray,
    "faces": FaceArray,
    "summary": MaskSummary,
    "alerts": MaskAlert,
    "annotations": ImageAnnotations,
    "image_annotated": Image,
    "image_annotated/compressed": CompressedImage,
    "image_private": Image,
    "image_private/compressed": CompressedImage,
    "label_info": LabelInfo,
}

DEPTH, IMAGE_DEPTH = 10, 2
"""Queue length of the publishers."""


class ResultPublishers:
    """The publishers of the results of one camera.

    Args:
        place: the namespace of the topics, such as `~`.

    Raises:
        ParameterError: a parameter overrides a topic's QoS with an invalid policy.
    """

    def __init__(self, node: LifecycleNode, place: str) -> None:
        self._node = node
        self._publishers: dict[str, Any] = {}
        with ExitStack() as on_failure:
            on_failure.callback(self.destroy)
            for topic, kind in TOPICS.items():
                self._publishers[topic] = _create(node, f"{place}/{topic}", kind)
            on_failure.pop_all()

    def publish(self, topic: str, message: Any) -> None:
        """Publish a result message on one of `TOPICS`."""
        self._publishers[topic].publish(message)

    def has_subscribers(self, *topics: str) -> bool:
        """Whether someone subscribes to one of these result topics."""
        return any(self._publishers[t].get_subscription_count() > 0 for t in topics)

    def publish_image(self, topic: str, image: NDArray[np.uint8], header: Header) -> None:
        """Publish a result image raw, compressed, or both, depending on the subscribers."""
        if self.has_subscribers(topic):
            self.publish(topic, image_to_message(image, header))
        if self.has_subscribers(f"{topic}/compressed"):
            self.publish(f"{topic}/compressed", image_to_compressed(image, header))

    def destroy(self) -> None:
        """Destroy the result publishers."""
        while self._publishers:
            _, publisher = self._publishers.popitem()
            self._node.destroy_lifecycle_publisher(publisher)


def _create(node: Any, topic: str, kind: Any) -> Any:
    qos = QoSProfile(depth=IMAGE_DEPTH if kind in (Image, CompressedImage) else DEPTH)
    if kind is LabelInfo:
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    overriding = QoSOverridingOptions.with_default_policies()
    try:
        return node.create_lifecycle_publisher(kind, topic, qos, qos_overriding_options=overriding)
    except (ParameterException, RuntimeError) as error:
        # rclpy raises a plain RuntimeError for an unknown policy, a subclass for all else.
        if type(error) is not RuntimeError and not isinstance(error, ParameterException):
            raise
        raise ParameterError(f"the QoS of {topic} cannot be overridden: {error}") from error
