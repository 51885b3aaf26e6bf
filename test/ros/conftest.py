"""Fixtures of the tests that need a ROS graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_graph import Graph

from mask_detector_ros.sample_scene.portraits import ASTRONAUT


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    graph = Graph(tmp_path)
    for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "FASTDDS_DEFAULT_PROFILES_FILE", "ROS_LOG_DIR"):
        monkeypatch.setenv(name, graph.environment[name])
    yield graph
    graph.close()


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """A bare face of about 88x113 pixels at (223, 116)."""
    return cv2.imread(str(ASTRONAUT.find()))
