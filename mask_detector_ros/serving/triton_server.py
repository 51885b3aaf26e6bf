# SPDX-License-Identifier: Apache-2.0
"""Run Triton with `MaskDetector` as its model until a signal ends it."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mask_detector_ros.errors import BackendError
from mask_detector_ros.serving import configuration
from mask_detector_ros.serving.model_repository import write_repository
from mask_detector_ros.serving.triton_environment import TritonFiles, find_triton

START_LIMIT = 120.0
"""Seconds in which all instances must have loaded."""

STOP_LIMIT = 2.0 * configuration.EXIT_LIMIT
"""Seconds until a server that does not stop is killed."""

_PREFIX = "mask_detector_serve_"
_FOLDER = re.compile(rf"{_PREFIX}(\d+)_\w+")
"""The name of a server's folder, with its process id; the names of its shared memory begin so."""

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_NOISE = ("NVML", "DCGM", "pinned_memory_manager", "CudaDriverHelper", "libdcgm")
"""Lines that Triton prints on a machine without an NVIDIA GPU."""


class TritonServer:
    """A running Triton server; it ends when this process ends for any reason.

    with TritonServer(options, values, facts) as server:
        server.wait_until_ready()
        ...

    Raises:
        BackendError: Triton is not installed.
        ParameterError: a port is taken.
    """

    def __init__(
        self,
        options: configuration.ServingOptions,
        values: Mapping[str, Any],
        facts: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        triton = find_triton()
        configuration.require_free_ports(options)
        remove_leftovers()
        self._options = options
        self._say = say
        self._instances: set[int] = set()
        self._last_lines: deque[str] = deque(maxlen=20)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}_"))
        self._prefix = self._folder.name
        write_repository(self._folder / "models", options, values, facts, triton.packages)
        link_backend(triton, self._folder / "backends")
        self._process = subprocess.Popen(
            configuration.build_command(triton, self._folder, options, self._prefix),
            env=child_variables(triton),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C in a terminal reaches only this process, which then stops Triton in order.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def __enter__(self) -> TritonServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def require_whole(self) -> None:
        """Check that the Triton server and all its instances still run.

        Triton does not replace an instance that was killed, for example from lack of memory: every
        request that it hands to that one would fail.

        Raises:
            BackendError: one has ended.
        """
        is_whole = self._instances <= _children(self._process.pid)
        if not is_whole:
            # They may be gone because Triton is about to be.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        if (code := self._process.poll()) is not None:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"code {code}"
            raise BackendError(f"Triton ended ({how}): {self._reason()}; start it again")
        if not is_whole:
            raise BackendError(
                "an instance of the server was killed; if memory is short, start with fewer"
                " --instances"
            )

    def wait_until_ready(self) -> None:
        """Wait until every instance of the Triton server has loaded.

        Raises:
            BackendError: it ended, or took too long; the message gives its last reason.
        """
        end = time.monotonic() + START_LIMIT
        while not self._is_ready():
            if self._process.poll() is not None:
                self._reader.join(1)
                raise BackendError(f"Triton did not start: {self._reason()}")
            if time.monotonic() > end:
                raise BackendError(
                    f"Triton was not ready after {START_LIMIT:.0f} s: {self._reason()}"
                )
            time.sleep(0.05)
        self._instances = _children(self._process.pid)

    def stop(self) -> None:
        """Let the Triton server finish requests in progress, stop it and remove its files."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            # A server that was stopped by SIGSTOP would not see it.
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        # An instance that waited for Triton with Python's lock held does not end by itself.
        for pid, name, _ in _instances():
            if name == self._folder.name:
                _kill(pid)
        self._reader.join(1)
        remove(self._folder)

    def _is_ready(self) -> bool:
        request = b"GET /v2/health/ready HTTP/1.0\r\n\r\n"
        address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(
            self._options.http_address, self._options.http_address
        )
        try:
            with socket.create_connection((address, self._options.http_port), 1) as connection:
                connection.sendall(request)
                return b" 200 " in connection.recv(64)
        except OSError:
            return False

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            line = line.strip()
            if line and not any(word in line for word in _NOISE):
                self._last_lines.append(line)
                self._say(line)

    def _reason(self) -> str:
        lines = [line for line in self._last_lines if "rror" in line]
        return (lines or list(self._last_lines) or ["it gave no reason"])[-1]


def link_backend(triton: TritonFiles, folder: Path) -> None:
    """Make a folder of Triton backends, with the Python backend for this version of Python."""
    backend = folder / "python"
    backend.mkdir(parents=True)
    for file in (triton.stub, *triton.backend.glob("*.*")):
        (backend / file.name).symlink_to(file)


def child_variables(triton: TritonFiles) -> dict[str, str]:
    """The environment variables of the Triton server, with which its Python backend finds this
    Python."""
    folders = (triton.python_library, str(triton.libraries), os.environ.get("LD_LIBRARY_PATH", ""))
    base = getattr(sys, "_base_executable", None) or sys.executable
    path = f"{Path(base).resolve().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, folders)), "PATH": path}


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def _children(parent: int) -> set[int]:
    """The running processes that this one started."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        state, ppid = _state(status)
        if ppid == parent and state != "Z":
            found.add(int(status.parent.name))
    return found


def _state(status: Path) -> tuple[str, int]:
    """The state of a process and its parent's id, from its `/proc/PID/stat`; "Z" if it ended."""
    try:
        # The name before it may hold spaces and brackets.
        state, parent = status.read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return "Z", 0
    return state, int(parent)


def _has_ended(pid: str | int) -> bool:
    """Whether a process ended, also if its parent has not asked how."""
    return _state(Path(f"/proc/{pid}/stat"))[0] == "Z"


def remove_leftovers() -> None:
    """End the instances and remove the files of Triton servers whose process is gone."""
    for pid, _, owner in _instances():
        if _has_ended(owner):
            _kill(pid)
    for folder in (Path(tempfile.gettempdir()), Path("/dev/shm")):
        for path in folder.glob(f"{_PREFIX}*"):
            found = _FOLDER.match(path.name)
            if found and _has_ended(found[1]):
                remove(path)


def _instances() -> Iterator[tuple[int, str, int]]:
    """The processes of instances of all servers: their ids, folders' names, and owners' ids."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # It ended meanwhile.
            program = file.read_bytes().partition(b"\0")[0].decode(errors="replace")
            if found := _FOLDER.search(program):
                yield int(file.parent.name), found[0], int(found[1])


def _kill(pid: int) -> None:
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def remove(folder: Path) -> None:
    """Remove the folder of a Triton server, and its shared memory."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in Path("/dev/shm").glob(f"{folder.name}*"):
        path.unlink(missing_ok=True)
