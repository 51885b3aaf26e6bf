# SPDX-License-Identifier: Apache-2.0
"""Launched graphs that end with their test."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_launch import DOMAIN_ID, RunningLaunch


@pytest.fixture
def start_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., RunningLaunch]]:
    """Start `ros2 launch` in a separate domain; end all remaining processes after the test."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN_ID))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros_log"))
    started: list[RunningLaunch] = []

    def start(*arguments: str) -> RunningLaunch:
        started.append(RunningLaunch(tmp_path / f"launch_{len(started)}.log", *arguments))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            try:
                running.stop()
            except subprocess.TimeoutExpired:
                os.killpg(running.process.pid, signal.SIGKILL)
                raise
