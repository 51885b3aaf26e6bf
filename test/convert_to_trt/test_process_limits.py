# SPDX-License-Identifier: Apache-2.0
"""The process that opens an untrusted model has no network, and limited memory and time."""

import platform
import subprocess
import sys

import pytest

from convert_to_trt import converter_environments

SOCKETS = """
import socket, subprocess, sys
from convert_to_trt.process_limits import limit_process
limit_process()
for family in (socket.AF_INET, socket.AF_INET6):
    try:
        socket.socket(family)
        print("open")
    except PermissionError:
        print("refused")
socket.socket(socket.AF_UNIX).close()
code = "import socket; socket.socket()"
print(subprocess.run([sys.executable, "-c", code], capture_output=True).returncode)
"""
MEMORY = """
import signal
from convert_to_trt.process_limits import limit_process
limit_process(memory_gb=0.3)
kept = bytearray(10 ** 9)
signal.pause()
"""
TIME = """
import signal
from convert_to_trt.process_limits import limit_process
limit_process(seconds=0.5)
signal.pause()
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=converter_environments.REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="sockets are forbidden by seccomp, on Linux",
)
def test_no_network_socket_opens_in_the_process_or_in_what_it_starts():
    done = run(SOCKETS)
    assert done.stdout.split() == ["refused", "refused", "1"], done.stderr


@pytest.mark.parametrize(
    ("code", "option"), [(MEMORY, "--memory-limit"), (TIME, "--time-limit")], ids=["memory", "time"]
)
def test_above_a_limit_the_process_ends_with_one_line(code, option):
    done = run(code)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the conversion took ")
    assert option in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_runs_under_these_limits(tmp_path):
    (tmp_path / "mine.onnx").write_bytes(b"\x08\x08")
    command = [sys.executable, "-m", "convert_to_trt.keras_to_onnx", tmp_path / "mine.onnx"]
    # A limit that any Python is above.
    done = subprocess.run(
        [*command, "-o", tmp_path / "out.onnx", "--time-limit", "0", "--memory-limit", "0.001"],
        cwd=converter_environments.REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
