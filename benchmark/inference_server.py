# SPDX-License-Identifier: Apache-2.0
"""Run `mask-detector serve` as a process that can be killed, stopped and restarted."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmark.processes import Lost, descendants, happens, wait_for
from mask_detector_ros.serving.triton_environment import MAKE, find_obstacle, is_ready
from mask_detector_ros.serving.triton_server import remove_leftovers

PORT_BLOCK = 30
"""Ports that a process takes at a time."""


def missing_server() -> str:
    """Why an inference server cannot be started here; empty if it can."""
    return find_obstacle() or ("" if is_ready() else f"needs Triton: {MAKE}")


def _own_ports() -> Iterator[int]:
    """Ports in blocks that no other process takes, as long as this one runs.

    Clients get theirs from another range, if the machine has one.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    end = low if low >= 20_000 else 60_000
    for start in range(10_000, end - PORT_BLOCK, PORT_BLOCK):
        # An abstract address, which is of this network and disappears with the process.
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0mask_detector_ros ports from {start}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        yield from range(start, start + PORT_BLOCK)
    raise Lost("other processes have all ports for servers")


_claims: list[socket.socket] = []
_ports = _own_ports()


def free_ports(count: int) -> list[int]:
    """Find free TCP ports for servers; each is given only once, so that a server can restart."""
    found: list[int] = []
    while len(found) < count:
        port = next(_ports)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            found.append(port)
    return found


class InferenceServer:
    """An inference server in a process, on loopback and free ports unless told otherwise.

    with InferenceServer("--instances", "1") as server:
        client = Client(server.url)

    Args:
        options: options of `mask-detector serve`.
        prefix: a command that starts it, such as in a network namespace.

    Attributes:
        address: HOST:PORT of gRPC.
        http_port, metrics_port: the other ports.
    """

    def __init__(self, *options: str, prefix: Sequence[str] = (), host: str = "127.0.0.1") -> None:
        grpc_port, self.http_port, self.metrics_port = free_ports(3)
        self.address = f"{host}:{grpc_port}"
        self._host = host
        ports = {"grpc": grpc_port, "http": self.http_port, "metrics": self.metrics_port}
        self._command = [
            *(*prefix, sys.executable, "-m", "mask_detector_ros", "serve", "--address", host),
            *(f"--{kind}-port={port}" for kind, port in ports.items()),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115

    @property
    def pid(self) -> int:
        """The process id of `mask-detector serve`."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """The inference server's output since its last start."""
        self._log.flush()
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def start(self, *options: str) -> None:
        """Start the inference server, with these additional options; return when it is ready.

        Raises:
            Lost: it ended instead.
        """
        self._log.seek(0)
        self._log.truncate()
        self._process = subprocess.Popen(
            [*self._command, *options], stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL
        )
        process = self._process
        wait_for(lambda: "\nserving " in f"\n{self.log}" or process.poll() is not None, "a server")
        if process.poll() is not None:
            raise Lost(f"the server ended: {self.log}")

    def processes(self) -> list[int]:
        """The ids of all processes of the inference server."""
        return descendants(self.pid)

    def signal(self, number: signal.Signals, processes: Iterable[int] | None = None) -> None:
        """Send a signal to all processes of the inference server, or to these."""
        for pid in self.processes() if processes is None else processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Context in which Triton accepts connections but does not answer."""
        triton = self.processes()[1:2]
        self.signal(signal.SIGSTOP, triton)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT, triton)

    def kill(self) -> None:
        """Kill all processes of the inference server at once, like a power cut."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stop(self) -> int:
        """Stop the inference server properly; return its exit code.

        Raises:
            Lost: it keeps running.
        """
        process = self._process
        assert process is not None
        self.signal(signal.SIGCONT)
        process.terminate()
        if happens(lambda: process.poll() is not None, 30) is False:
            self.kill()
            raise Lost("the server did not stop on SIGTERM")
        return process.wait()

    def __enter__(self) -> InferenceServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        # What a killed server leaves; its successor would remove it.
        remove_leftovers()
        self._log.close()
