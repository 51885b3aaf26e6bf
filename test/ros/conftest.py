# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that need a ROS graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ros_graph import Graph
from waiting import wait_until

from mask_detector_ros.sources.sample_scene.portraits import ASTRONAUT


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    graph = Graph(tmp_path)
    graph.share_environment(monkeypatch)
    yield graph
    graph.close()


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """A bare face of about 88x113 pixels at (223, 116)."""
    return cv2.imread(str(ASTRONAUT.find()))


@pytest.fixture
def active_detector(graph: Graph) -> Any:
    """An active detector that has discovered its client: (process, client, publisher,
    detections)."""
    from detector_client import NODE, drain
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Detection2DArray

    process = graph.start("mask_detector_node", threads=1)
    client = graph.client()
    detections = client.listen(Detection2DArray, f"{NODE}/detections")
    images = client.advertise(Image, "/image_raw", 10)
    graph.wait_for_output(process, "subscribed to /image_raw, reliable")
    wait_until(lambda: client.node.count_publishers(f"{NODE}/detections"), what="the detections")
    # Both ends of both topics must have met before a message can be counted on.
    drain(images, detections)
    return process, client, images, detections
