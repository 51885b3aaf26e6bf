# SPDX-License-Identifier: Apache-2.0
"""A server ends properly, leaves nothing behind, and does not outlive the command."""

import signal
import tempfile
from pathlib import Path

import pytest
from waiting import wait_until


def leftovers(pid):
    """The files that a process's server created."""
    folders = (Path(tempfile.gettempdir()), Path("/dev/shm"))
    return [path for folder in folders for path in folder.glob(f"mask_detector_serve_{pid}_*")]


def is_gone(pid):
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.fixture
def server(start_server):
    with start_server("--instances", "1") as running:
        yield running


def test_sigterm_ends_it_in_order(server):
    processes = server.processes()
    assert len(processes) == 3  # The command, Triton, one instance.
    assert leftovers(server.pid)
    assert server.stop() == 0
    assert "stopped" in server.log
    assert "Traceback" not in server.log
    assert all(map(is_gone, processes))
    assert not leftovers(processes[0])


def test_a_killed_command_takes_the_server_along(server, start_server):
    processes = server.processes()
    server.signal(signal.SIGKILL, processes[:1])
    wait_until(lambda: all(map(is_gone, processes)))
    # Nobody was there to remove its files; the next server does.
    server.start()
    assert not leftovers(processes[0])


def test_a_killed_instance_ends_the_server_with_an_error(server):
    server.signal(signal.SIGKILL, server.processes()[2:])
    wait_until(lambda: is_gone(server.pid))
    assert "error: an instance of the server was killed" in server.log
    assert not leftovers(server.pid)


def test_a_killed_triton_takes_its_instances_along(server):
    """An instance that waits for Triton while it holds Python's lock does not end by itself."""
    processes = server.processes()
    server.signal(signal.SIGSTOP, processes[2:])
    server.signal(signal.SIGKILL, processes[1:2])
    wait_until(lambda: all(map(is_gone, processes)))
    assert "error: Triton ended (killed by SIGKILL)" in server.log
    assert not leftovers(processes[0])


def test_instances_that_outlived_their_server_are_ended_by_the_next(server, start_server):
    processes = server.processes()
    server.signal(signal.SIGSTOP, processes[2:])
    server.signal(signal.SIGKILL, processes[:2])
    wait_until(lambda: all(map(is_gone, processes[:2])))
    # The next is this one, or one of another test beside it.
    server.start()
    wait_until(lambda: is_gone(processes[2]))
