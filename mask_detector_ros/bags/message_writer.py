# SPDX-License-Identifier: Apache-2.0
"""Write and read a bag's serialised messages with the library `rosbags`, without ROS.

`result_messages` provides the field values, as for the node.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from mask_detector_ros.annotation_messages import AnnotationMessages
from mask_detector_ros.errors import SourceError
from mask_detector_ros.imaging.encodings import compressed_format, encode_compressed
from mask_detector_ros.result_messages import ResultMessages
from mask_detector_ros.shared_files import find_shared

INTERFACES = {
    "vision_msgs": ("underlay/vision_msgs/msg", "Detection2DArray.msg"),
    "foxglove_msgs": ("underlay/foxglove_msgs/msg", "ImageAnnotations.msg"),
    "mask_detector_ros": ("msg", "FaceArray.msg"),
}
"""Packages whose messages `rosbags` lacks: their folder, and a file in it."""

DRAWING = "sensor_msgs/msg/CompressedImage"


@cache
def message_types() -> Typestore:
    """The message types of a bag: those of ROS 2, vision_msgs, foxglove_msgs and this package.

    Raises:
        SourceError: the interface files are missing.
    """
    store = get_typestore(Stores.ROS2_HUMBLE)
    found: dict[str, Any] = {}
    for package, (name, file) in INTERFACES.items():
        folder = find_shared(name, file)
        if folder is None:
            raise SourceError(f"{file} is not installed; reinstall mask_detector_ros")
        for path in folder.glob("*.msg"):
            text = path.read_text(encoding="utf-8")
            found |= get_types_from_msg(text, f"{package}/msg/{path.stem}")
    store.register(found)
    return store


class MessageWriter:
    """Makes the serialised result messages that are written to a bag.

    Attributes:
        results, annotations: make the messages with faces.
    """

    def __init__(self) -> None:
        self._store = message_types()
        self.results = ResultMessages(self.make)
        self.annotations = AnnotationMessages(self.make)

    def make(self, kind: str, /, **fields: Any) -> Any:
        """Make a message for a bag of any type, such as `std_msgs/msg/Header`, from all its
        fields."""
        return self._store.types[kind](**fields)

    def header(self, original: Any) -> Any:
        """Make the header of an image in a bag; a ROS 1 header has one more field."""
        stamp = self.make(
            "builtin_interfaces/msg/Time", sec=original.stamp.sec, nanosec=original.stamp.nanosec
        )
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=original.frame_id)

    def drawing(self, image: NDArray[np.uint8], header: Any) -> Any:
        """Serialise a CompressedImage for a bag, like `ros.conversions.image_to_compressed`."""
        data, image_format = encode_compressed(image, "jpeg"), compressed_format("jpeg")
        return self.make(DRAWING, header=header, format=image_format, data=data)

    def serialise(self, message: Any) -> memoryview:
        """Serialise a message for a bag, in ROS 2's encoding."""
        return self._store.serialize_cdr(message, message.__msgtype__)
