# SPDX-License-Identifier: Apache-2.0
"""Write small bags of all kinds for the tests."""

from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

START = 1_700_000_000_123_456_789


class BagMaker:
    """Writes images into a bag of one kind: mcap, sqlite3 or ros1.

    Args:
        compression: of a bag of ROS 2: "file", "message", "storage" (the chunks of an mcap).
    """

    def __init__(self, path: Path, kind: str, compression: str = "") -> None:
        self.kind = kind
        self.store = get_typestore(Stores.ROS1_NOETIC if kind == "ros1" else Stores.ROS2_HUMBLE)
        if kind == "ros1":
            path = path.with_suffix(".bag")
            self.writer = Writer1(path)
        else:
            self.writer = Writer(path, version=8, storage_plugin=StoragePlugin[kind.upper()])
            if compression:
                mode = CompressionMode[compression.upper()]
                self.writer.set_compression(mode, CompressionFormat.ZSTD)
        self.path = path
        self.connections = {}

    def header(self, stamp: int, frame_id: str = "camera"):
        kinds = self.store.types
        time = kinds["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
        more = {"seq": 7} if self.kind == "ros1" else {}
        return kinds["std_msgs/msg/Header"](stamp=time, frame_id=frame_id, **more)

    def write(self, topic: str, kind: str, stamp: int, **fields) -> None:
        message = self.store.types[kind](header=self.header(stamp), **fields)
        ros1 = self.kind == "ros1"
        serialize = self.store.serialize_ros1 if ros1 else self.store.serialize_cdr
        self.write_bytes(topic, kind, stamp, serialize(message, kind))

    def write_bytes(self, topic: str, kind: str, stamp: int, data: bytes) -> None:
        """A message as it lies in the bag, which may be none."""
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        # The recorder heard of it a little later.
        self.writer.write(self.connections[topic], stamp + 5_000_000, data)

    def image(self, topic: str, stamp: int, picture: np.ndarray, encoding: str = "bgr8") -> None:
        self.write(
            topic,
            "sensor_msgs/msg/Image",
            stamp,
            height=picture.shape[0],
            width=picture.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=picture[0].nbytes,
            data=np.frombuffer(picture.tobytes(), np.uint8),
        )

    def compressed(
        self, topic: str, stamp: int, picture: np.ndarray, image_format: str = "png"
    ) -> None:
        data = cv2.imencode(".png", picture)[1].reshape(-1)
        self.write(topic, "sensor_msgs/msg/CompressedImage", stamp, format=image_format, data=data)


def make_bag(
    path: Path,
    kind: str,
    pictures: list[np.ndarray],
    topic: str = "/front/image_raw",
    compression: str = "",
):
    """A bag with one topic, 10 images a second."""
    maker = BagMaker(path, kind, compression)
    with maker.writer:
        for i, picture in enumerate(pictures):
            maker.image(topic, START + i * 100_000_000, picture)
    return maker.path
