# SPDX-License-Identifier: Apache-2.0
"""The fleet check measures correctly, and its slow network is slow."""

import socket
import threading
import time
from contextlib import suppress

import pytest

from benchmark.fleet.__main__ import format_row
from benchmark.fleet.robot_processes import FAILED, SERVER, Figures, Result, measure
from benchmark.fleet.scenarios import Row
from benchmark.fleet.slow_network import Proxy


class Recorded:
    """Robots of which only recorded results exist."""

    def __init__(self, *groups):
        self._groups = groups

    def results(self, since, until):
        return [[r for r in group if since <= r.end <= until] for group in self._groups]


def test_figures_of_robots():
    first = [Result(float(i), 0.1, SERVER) for i in range(1, 10)]
    second = [Result(1.0, 0.2, SERVER), Result(2.0, 0.01, FAILED), Result(7.0, 0.3, "onnxruntime")]
    figures = measure(Recorded(first, second), 0.0, 10.0)
    assert figures.rate == pytest.approx(1.1)
    assert figures.served == pytest.approx(10 / 11)
    assert figures.failed == pytest.approx(1 / 12)
    assert figures.p50 == pytest.approx(0.1)
    # A failed frame is no result: the second robot saw nothing from 1 to 7.
    assert figures.gap == pytest.approx(6)
    assert figures.fairness == pytest.approx(100 / (2 * 82))
    assert figures.failure_time == pytest.approx(0.01)


def test_a_robot_without_results_had_a_gap_all_the_time():
    assert measure(Recorded([], [Result(5.0, 0.1, SERVER)]), 0.0, 10.0).gap == 10


def test_a_fault_is_in_its_line():
    row = Row("killed", Figures(10, 0.5, 0, 0.01, 0.02, 0.7, 1, float("nan")), (1.5, 0.25))
    row.require(False, "a robot saw nothing")
    row.require(True, "not this")
    line = format_row(row)
    assert "killed" in line
    assert "1.50+0.25  FAILED: a robot saw nothing" in line
    assert "not this" not in line


@pytest.fixture
def echo():
    """Start an echo server; return its address."""

    def serve():
        with suppress(OSError):
            while True:
                connection = listener.accept()[0]
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(("loss", "least"), [(0.0, 0.2), (1.0, 0.6)])
def test_the_proxy_delays_each_direction_and_more_where_segments_are_lost(echo, loss, least):
    message = bytes(range(256)) * 400
    with Proxy(echo, delay=0.1, loss=loss) as proxy:
        host, port = proxy.address.split(":")
        with socket.create_connection((host, int(port)), 20) as client:
            start = time.monotonic()
            client.sendall(message)
            received = b""
            while len(received) < len(message):
                received += client.recv(1 << 16)
            assert time.monotonic() - start >= least
    assert received == message
