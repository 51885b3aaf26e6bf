# SPDX-License-Identifier: Apache-2.0
"""The commands of the tutorial "On a robot" that talk to a running node, by the real `ros2`."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from command_blocks import command_lines
from running_launch import SEARCH_PATH, RunningLaunch, is_installed

pytest.importorskip("ros2launch", reason="ros2launch is not installed; a full ROS 2 has it")
for verbs in ("ros2lifecycle", "ros2param", "ros2service", "ros2topic"):
    pytest.importorskip(f"{verbs}.api", reason=f"{verbs} is not installed; a full ROS 2 has it")
if not is_installed("mask_detector_ros"):
    pytest.skip(
        "the package is not installed in this ROS; build it with colcon and source it",
        allow_module_level=True,
    )

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "on_a_robot.md"
LINES = command_lines(PAGE)


def ros2(line: str) -> str:
    """Run a command line; return its output."""
    done = subprocess.run(
        shlex.split(line),
        env={**os.environ, "PATH": SEARCH_PATH},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def line(start: str) -> str:
    (found,) = [line for line in LINES if line.startswith(start)]
    return found


@pytest.fixture
def node(start_launch: Callable[..., RunningLaunch]) -> Iterator[RunningLaunch]:
    """The detector with the sample scene, not yet configured."""
    yield start_launch(
        *("mask_detector_ros", "mask.launch.py", "camera:=source", "source:=sample"),
        "autostart:=false",
    )
    # Most commands start it, in the background.
    ros2("ros2 daemon stop")


@pytest.mark.slow
def test_lifecycle_topics_parameters_and_services_answer(node: RunningLaunch) -> None:
    node.wait_until(lambda: "/mask_detector" in ros2("ros2 lifecycle nodes"), lambda: None)
    for transition in ("configure", "activate"):
        assert "successful" in ros2(line(f"ros2 lifecycle set /mask_detector {transition}"))
    assert "array('I', [" in ros2(line("ros2 topic echo --once"))
    assert "successful" in ros2(line("ros2 param set /mask_detector min_face_size"))
    dumped = yaml.safe_load(ros2(line("ros2 param dump /mask_detector")))
    assert dumped["/mask_detector"]["ros__parameters"]["min_face_size"] == 40
    assert "success=True" in ros2(line("ros2 service call /mask_detector/enable"))


def test_the_profile_is_where_the_tutorial_says() -> None:
    share = ros2("ros2 pkg prefix --share mask_detector_ros").strip()
    assert (Path(share) / "config" / "shared_memory.xml").is_file()
