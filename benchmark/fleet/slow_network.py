# SPDX-License-Identifier: Apache-2.0
"""A slow network between robots and server.

Where the kernel permits, a network namespace with `tc netem`; else a proxy that holds back what
passes through it. TCP sends a lost packet again and holds up all that follows it: in the proxy a
lost segment of `SEGMENT` bytes costs another round trip.
"""

from __future__ import annotations

import os
import queue
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

SEGMENT = 1448
"""Bytes of TCP in a packet of Ethernet."""

_HOST, _ROBOT, _NAME = "10.231.0.1", "10.231.0.2", "mdfleet"


@dataclass(frozen=True)
class SlowNetwork:
    """The address of this machine behind the slow link, and the command that runs a robot there.

    Attributes:
        address: address on which the server must listen.
        host: the name of this machine for the robots.
        prefix: command that starts a robot.
    """

    address: str
    host: str
    prefix: tuple[str, ...] = ()


def find_obstacle() -> str:
    """Return why this machine cannot simulate a slow network with netem; empty if it can."""
    if os.geteuid() != 0:
        return "needs root"
    try:
        with namespace(0.01, 0.01):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        return " ".join(reason.split())


@contextmanager
def namespace(delay: float, loss: float) -> Iterator[SlowNetwork]:
    """Make a network namespace behind a link with this delay, in seconds each way, and packet
    loss."""
    netem = f"root netem delay {delay * 1e3:g}ms loss {loss:.2%}"
    inside = f"ip netns exec {_NAME}"
    try:
        for command in (
            f"ip netns add {_NAME}",
            f"ip link add {_NAME}0 type veth peer name {_NAME}1 netns {_NAME}",
            f"ip addr add {_HOST}/24 dev {_NAME}0",
            f"ip link set {_NAME}0 up",
            f"{inside} ip addr add {_ROBOT}/24 dev {_NAME}1",
            f"{inside} ip link set {_NAME}1 up",
            f"tc qdisc add dev {_NAME}0 {netem}",
            f"{inside} tc qdisc add dev {_NAME}1 {netem}",
        ):
            subprocess.run(command.split(), check=True, capture_output=True, text=True)
        yield SlowNetwork("0.0.0.0", _HOST, ("ip", "netns", "exec", _NAME))
    finally:
        subprocess.run(["ip", "netns", "del", _NAME], check=False, capture_output=True)


class Proxy:
    """A TCP proxy that forwards each byte `delay` seconds later, in each direction.

    with Proxy("127.0.0.1:8001", delay=0.05, loss=0.02) as proxy:
        ...  # connect to proxy.address

    Attributes:
        address: HOST:PORT where it listens.
    """

    def __init__(self, target: str, delay: float, loss: float) -> None:
        host, _, port = target.rpartition(":")
        self._target, self._delay, self._loss = (host, int(port)), delay, loss
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                try:
                    far = socket.create_connection(self._target, 5)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                self._sockets += [near, far]
                for source, target in ((near, far), (far, near)):
                    line: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                    threading.Thread(target=self._read, args=(source, line), daemon=True).start()
                    threading.Thread(target=_write, args=(target, line), daemon=True).start()

    def _read(self, source: socket.socket, line: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        chance = random.Random(self._target[1])
        due = 0.0
        data = b"x"
        while data:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            segments = -(-len(data) // SEGMENT)
            lost = any(chance.random() < self._loss for _ in range(segments))
            # What follows a lost segment waits for it.
            due = max(due, time.monotonic() + self._delay * (3 if lost else 1))
            line.put((due, data))


def _write(target: socket.socket, line: queue.SimpleQueue[tuple[float, bytes]]) -> None:
    with suppress(OSError):
        while True:
            due, data = line.get()
            time.sleep(max(due - time.monotonic(), 0))
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(data)
