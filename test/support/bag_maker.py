"""Writes small bags of all kinds for the tests."""

from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

START = 1_700_000_000_123_456_789


class BagMaker:
    """Writes images into a bag of one kind: mcap, sqlite3 or ros1."""

    def __init__(self, path: Path, kind: str) -> None:
        self.kind = kind
        self.store = get_typestore(Stores.ROS1_NOETIC if kind == "ros1" else Stores.ROS2_HUMBLE)
        if kind == "ros1":
            path = path.with_suffix(".bag")
            self.writer = Writer1(path)
        else:
            self.writer = Writer(path, version=8, storage_plugin=StoragePlugin[kind.upper()])
        self.path = path
        self.connections = {}

    def header(self, stamp: int):
        kinds = self.store.types
        time = kinds["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
        more = {"seq": 7} if self.kind == "ros1" else {}
        return kinds["std_msgs/msg/Header"](stamp=time, frame_id="camera", **more)

    def write(self, topic: str, kind: str, stamp: int, **fields) -> None:
        message = self.store.types[kind](header=self.header(stamp), **fields)
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        ros1 = self.kind == "ros1"
        serialize = self.store.serialize_ros1 if ros1 else self.store.serialize_cdr
        # The recorder heard of it a little later.
        self.writer.write(self.connections[topic], stamp + 5_000_000, serialize(message, kind))

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
            data=picture.reshape(-1),
        )

    def compressed(self, topic: str, stamp: int, picture: np.ndarray) -> None:
        data = cv2.imencode(".png", picture)[1].reshape(-1)
        self.write(topic, "sensor_msgs/msg/CompressedImage", stamp, format="png", data=data)


def make_bag(path: Path, kind: str, pictures: list[np.ndarray], topic: str = "/front/image_raw"):
    """A bag with one topic, 10 images a second."""
    maker = BagMaker(path, kind)
    with maker.writer:
        for i, picture in enumerate(pictures):
            maker.image(topic, START + i * 100_000_000, picture)
    return maker.path
