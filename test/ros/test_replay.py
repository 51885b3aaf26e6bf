# SPDX-License-Identifier: Apache-2.0
"""Replaying a bag through the node gives the same results as `mask-detector bag`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import wait_until

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")
pytest.importorskip("rosbags", reason="needs the bag extra: pip install rosbags")

from bag_maker import START, make_bag
from detector_client import NODE, make_image
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from mask_detector_ros.bags.annotate_bag import process_bag
from mask_detector_ros.bags.reading import open_bag
from mask_detector_ros.bags.topics import choose_topics, name_results


def test_the_node_sees_what_the_bag_says(
    active_detector: Any, tmp_path: Path, walk: list[np.ndarray], detector: Any
) -> None:
    bag = make_bag(tmp_path / "in", "mcap", walk, topic="/image_raw")
    with open_bag(bag) as opened:
        topics = name_results(choose_topics(opened.channels, ()))
        tracking = {"tracking": True, "smoothing": 1.0, "search_every": 1}
        options = {"privacy": "off", "drawings": False, "advance": lambda _: None}
        process_bag(opened, tmp_path / "out", topics, detector, {}, tracking=tracking, **options)
    with AnyReader([tmp_path / "out"]) as reader:
        expected = [
            deserialize_message(bytes(data), Detection2DArray)
            for c, _, data in reader.messages()
            if c.topic == f"{NODE}/detections"
        ]
    assert len(expected) == len(walk)

    _, client, images, detections = active_detector
    # The fixture has left no result on its way.
    assert client.call(Trigger, f"{NODE}/reset", Trigger.Request()).success
    for i, picture in enumerate(walk):
        stamp = START + i * 100_000_000
        images.publish(make_image(picture, sec=stamp // 10**9, nanosec=stamp % 10**9))
        wait_until(lambda i=i: len(detections) > i, what=f"image {i}")
    assert detections == expected
