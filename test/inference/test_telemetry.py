# SPDX-License-Identifier: Apache-2.0
"""Nothing leaves the machine without being asked: no socket, and no file outside caches and
output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

AUDIT = """
import os, sys

def hook(event, arguments):
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo"):
        os.write(2, f"UNASKED {event} {arguments}\\n".encode())

sys.addaudithook(hook)
"""

BACKENDS = [
    pytest.param(
        name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")
    )
    for name in ("onnxruntime", "openvino")
]


def environment(home: Path) -> dict[str, str]:
    """The environment of a new user."""
    kept = {n: v for n, v in os.environ.items() if n != "ORT_DISABLE_TELEMETRY"}
    kept = {n: v for n, v in kept.items() if not n.startswith("XDG_")}
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "CI": ""}


def commands(image: Path, out: Path) -> dict[str, list[str]]:
    run = ["-m", "mask_detector_ros.cli"]
    return {
        "image": [*run, "image", str(image), "-o", str(out), "--threads", "1"],
        "models": [*run, "models"],
        "convert": ["-c", "import convert_to_trt.onnx_models"],
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_opens_no_socket_from_python(
    backend: str, astronaut_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(AUDIT)
    variables = {**environment(tmp_path), "PYTHONPATH": str(tmp_path / "site")}
    command = commands(astronaut_file, tmp_path / "out")["image"]
    done = subprocess.run(
        [sys.executable, *command, "--backend", backend],
        env=variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "UNASKED" not in done.stderr
    assert not (tmp_path / "intel").exists()


def trace(command: list[str], home: Path) -> list[str]:
    """The system calls of the process and its children that opened sockets or wrote files."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-o", "/dev/null", "true"]).returncode:
        pytest.skip("strace is not installed or may not trace")
    calls = "trace=socket,connect,open,openat,creat,mkdir,mkdirat,rename,unlink"
    log = home / "calls"
    subprocess.run(
        [strace, "-f", "-qq", "-s", "300", "-e", calls, "-o", str(log), sys.executable, *command],
        env=environment(home),
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return log.read_text(errors="replace").splitlines()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("command", ["image", "models", "convert"])
def test_no_command_opens_a_socket_or_writes_outside_caches(
    command: str, backend: str, astronaut_file: Path, tmp_path: Path
) -> None:
    given = commands(astronaut_file, tmp_path / "out")[command]
    given += ["--backend", backend] if command == "image" else []
    calls = trace(given, tmp_path)
    sockets = [c for c in calls if re.search(r"\b(socket|connect)\(", c)]
    assert [c for c in sockets if "AF_UNIX" not in c] == []
    writes = [
        c
        for c in calls
        if re.search(r"O_WRONLY|O_RDWR|O_CREAT|\b(creat|mkdir|mkdirat|rename)\(", c)
        and " = -1 " not in c
    ]
    allowed = (str(tmp_path / "out"), str(tmp_path / ".cache"), "/dev/", "/tmp/", "/proc/self/")
    outside = [c for c in writes if not any(f'"{place}' in c for place in allowed)]
    # The test's own folder lies under /tmp; what is in it but not among the allowed is the home.
    home = [c for c in writes if f'"{tmp_path}' in c]
    outside += [c for c in home if not any(f'"{place}' in c for place in allowed[:2])]
    assert outside == []
