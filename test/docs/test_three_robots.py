# SPDX-License-Identifier: Apache-2.0
"""The robots of the tutorial "One server, three robots" use its server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_until

from benchmark.inference_server import InferenceServer, missing_server

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "examples" / "three_robots.py"


@pytest.mark.graph
@pytest.mark.slow
def test_three_robots_use_one_server(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")
    if problem := missing_server():
        pytest.skip(problem)
    log = tmp_path / "log"
    with InferenceServer() as server, log.open("wb") as output:
        robots = subprocess.Popen(
            [sys.executable, str(SCRIPT), server.address],
            stdout=output,
            stderr=output,
            env={**os.environ, "ROS_LOG_DIR": str(tmp_path)},
        )
        try:
            wait_until(
                lambda: any(line.count("triton") == 3 for line in log.read_text().splitlines()),
                200,
                "all robots on the server",
            )
        finally:
            robots.send_signal(signal.SIGINT)
            assert robots.wait(60) == 0


def test_without_an_address_it_says_what_it_takes() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")
