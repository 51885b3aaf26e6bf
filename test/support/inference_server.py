# SPDX-License-Identifier: Apache-2.0
"""`mask-detector serve`, the real inference server, as a process that tests kill and stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from waiting import wait_until

from mask_detector_ros.serving.environment import MAKE, find_obstacle, is_ready

START_LIMIT = 120.0
"""Seconds, on a busy machine."""


def missing_server() -> str:
    """Why no server can be started; empty where one can."""
    return find_obstacle() or ("" if is_ready() else f"needs a server: {MAKE}")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class InferenceServer:
    """The server as a process with ports of its own.

    Args:
        options: of `mask-detector serve`.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        self.ports = free_ports(3)
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    def start(self, *options: str) -> None:
        """Start it, with these options too; return when it serves."""
        ports = zip(("grpc", "http", "metrics"), self.ports, strict=True)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mask_detector_ros.cli", "serve"),
                *(word for kind, port in ports for word in (f"--{kind}-port", str(port))),
                *("--threads", "1", *self._options, *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.log: list[str] = []
        assert self._process.stdout is not None
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()
        wait_until(self._serves, START_LIMIT, "the inference server")

    def _read(self, lines: Any) -> None:
        for line in lines:
            self.log.append(line.rstrip())

    def _serves(self) -> bool:
        assert self._process.poll() is None, "\n".join(self.log)
        return any(line.startswith("serving ") for line in self.log)

    @property
    def triton(self) -> int:
        """Process id of Triton itself."""
        (number,) = children_of(self._process.pid)
        return number

    def kill(self) -> None:
        """Kill Triton, as if its machine lost power."""
        os.kill(self.triton, signal.SIGKILL)
        self._process.wait(START_LIMIT)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Triton accepts connections, and answers nothing."""
        with suspended(self.triton):
            yield

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(START_LIMIT)


@contextmanager
def suspended(process: int) -> Iterator[None]:
    """Stop a process for a while."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def children_of(process: int) -> list[int]:
    """The process ids of all children."""
    files = Path(f"/proc/{process}/task").glob("*/children")
    return [int(number) for file in files for number in file.read_text().split()]
