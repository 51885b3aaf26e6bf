# SPDX-License-Identifier: Apache-2.0
"""Run `ros2 launch` in a process, for the tests."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from waiting import LIMIT, wait_until

DOMAIN_ID = int(os.environ["ROS_DOMAIN_ID"])
SEARCH_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def is_installed(package: str) -> bool:
    """Whether this ROS has the package."""
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


class RunningLaunch:
    """`ros2 launch` in a process, with its output in a file."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        ros2 = shutil.which("ros2", path=SEARCH_PATH)
        assert ros2, "ros2launch is installed, but not the command ros2"
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [ros2, "launch", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def pid_of(self, executable: str) -> int:
        started = re.search(
            rf"\[{executable}-\d+\]: process started with pid \[(\d+)\]", self.output
        )
        assert started, self.output
        return int(started[1])

    def wait_until(self, condition: Callable[[], bool], step: Callable[[], None]) -> None:
        """Repeat `step` until the condition holds; fail on a timeout or if launch ends."""

        def holds() -> bool:
            assert self.process.poll() is None, f"ros2 launch ended early:\n{self.output}"
            step()
            return condition()

        wait_until(holds, what=f"launch, which printed:\n{self.output}")

    def stop(self) -> None:
        # SIGINT is the signal on which launch ends its nodes; SIGTERM leaves them behind.
        self.process.send_signal(signal.SIGINT)
        self.process.wait(LIMIT)
