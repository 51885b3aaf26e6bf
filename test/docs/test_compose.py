# SPDX-License-Identifier: Apache-2.0
"""The example package runs: its node on real detections, and its launch file around ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from detector_client import make_image
from ros_graph import ROOT, Graph
from running_launch import RunningLaunch
from sensor_msgs.msg import Image
from std_msgs.msg import String
from waiting import wait_until

from mask_detector_ros.sources.sample_scene.portraits import ASTRONAUT

EXAMPLE = ROOT / "docs" / "examples" / "mask_greeter"
GREETING = "Welcome. Please put on a mask."


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    graph = Graph(tmp_path)
    graph.share_environment(monkeypatch)
    yield graph
    graph.close()


def test_the_page_shows_the_files_of_the_example() -> None:
    page = (ROOT / "docs" / "how-to" / "compose.md").read_text(encoding="utf-8")
    shown = re.findall(r'^--8<-- "(.+)"$', page, re.MULTILINE)
    assert len(shown) == 2
    assert all((ROOT / file).is_file() for file in shown)


def be_greeted(graph: Graph, image_topic: str) -> None:
    client = graph.client()
    said = client.listen(String, "/say")
    images = client.advertise(Image, image_topic)
    portrait = make_image(cv2.imread(str(ASTRONAUT.find())))
    client.node.create_timer(0.1, lambda: images.publish(portrait))
    wait_until(lambda: said, what="a greeting")
    assert said[0].data == GREETING


def test_the_node_greets_whom_the_detector_sees(graph: Graph) -> None:
    graph.start("mask_detector_node", threads=1)
    greeter = str(EXAMPLE / "mask_greeter" / "greeter.py")
    graph.start(greeter, "-r", "detections:=mask_detector/detections")
    be_greeted(graph, "/image_raw")


def test_its_launch_file_includes_ours(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ros2launch", reason="ros2launch is not installed; a full ROS 2 has it")
    source, prefix = tmp_path / "mask_greeter", tmp_path / "install"
    shutil.copytree(EXAMPLE, source)
    install = ["setup.py", "install", "--single-version-externally-managed"]
    install += ["--record", str(tmp_path / "record.txt"), "--prefix", str(prefix)]
    subprocess.run([sys.executable, *install], cwd=source, check=True, capture_output=True)
    for name, path in (
        ("AMENT_PREFIX_PATH", prefix),
        ("PYTHONPATH", next(prefix.glob("lib/python*/site-packages"))),
    ):
        monkeypatch.setenv(name, os.pathsep.join(filter(None, (str(path), os.environ.get(name)))))
    monkeypatch.setenv("ROS_DOMAIN_ID", str(graph.domain))
    running = RunningLaunch(tmp_path / "launch.log", "mask_greeter", "greeter.launch.py")
    try:
        be_greeted(graph, "/head/color/image_raw")
    finally:
        running.stop()
