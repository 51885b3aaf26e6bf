# SPDX-License-Identifier: Apache-2.0
"""Start, watch, measure and end the processes of a benchmark, and wait for conditions."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mask_detector_ros.errors import MaskDetectorError

LIMIT = float(os.environ.get("BENCHMARK_TIME_LIMIT", "60"))
"""Seconds that anything may take; an overloaded machine needs more."""


class Lost(MaskDetectorError):  # noqa: N818
    """A condition was not met in time; the message names it."""


def happens(condition: Callable[[], Any], within: float) -> Any:
    """Poll until a condition on a benchmark's processes is true or the time is over; return its
    last value."""
    end = time.monotonic() + within
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return value


def wait_for(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """Poll until a condition on a benchmark's processes is true; return its value.

    Raises:
        Lost: it did not in time.
    """
    value = happens(condition, limit)
    if not value:
        raise Lost(f"waited {limit:g} s for {what}")
    return value


class Processes:
    """Starts the processes of a benchmark, and ends them on `close`.

    Args:
        folder: folder for their output and logs.
        environment: their environment variables; by default those of this process.

    Attributes:
        folder, environment: as above; a change affects processes started later.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = None if environment is None else dict(environment)
        self._logs: dict[int, Path] = {}
        self._processes: list[subprocess.Popen[Any]] = []

    def start(self, module: str, *arguments: str, **parameters: Any) -> subprocess.Popen[Any]:
        """Start a node of the package, or a script, as a process."""
        command = ["--ros-args", *arguments]
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else value
            command += ["-p", f"{name}:={text}"]
        name = module if module.endswith(".py") else f"mask_detector_ros.ros.{module}"
        return self.run(name, *command)

    def run(self, module: str, *arguments: str, **options: Any) -> subprocess.Popen[Any]:
        """Start any module, or a script that ends in .py, as a process; its output goes to a log.

        `options` are those of Popen.
        """
        what = [module] if module.endswith(".py") else ["-m", module]
        name = Path(module).stem if module.endswith(".py") else module.rpartition(".")[2]
        path = self.folder / f"{len(self._processes)}_{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *what, *arguments],
                **{"stdout": log, "stderr": log, "env": self.environment, **options},
            )
        self._processes.append(process)
        self._logs[process.pid] = path
        return process

    def output(self, process: subprocess.Popen[Any]) -> str:
        """The output of a process so far."""
        return self._logs[process.pid].read_text(encoding="utf-8", errors="replace")

    def last_words(self, process: subprocess.Popen[Any]) -> str:
        """The end of a process's log, for error messages."""
        return "\n".join(self.output(process).splitlines()[-3:])

    def end(self, process: subprocess.Popen[Any], how: signal.Signals = signal.SIGINT) -> int:
        """Send a signal to a process and wait for it; return its exit code.

        Raises:
            Lost: the process did not end.
        """
        process.send_signal(how)
        try:
            return process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Lost(f"{process.args} did not end on {how.name}") from None

    def close(self) -> None:
        """End all running processes of the benchmark."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGINT)
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class ProcessStatus:
    """What the kernel counts for a running process.

    Args:
        pid: its number; by default this process.
    """

    def __init__(self, pid: int | str = "self") -> None:
        self._folder = Path("/proc") / str(pid)

    def cpu_seconds(self) -> float:
        """Processor seconds that a process has used so far."""
        return cpu_seconds(self._read("stat"))

    def memory(self) -> dict[str, float]:
        """Resident memory of a process by kind; see `resident_memory`."""
        return resident_memory(self._read("status"))

    def threads(self) -> int:
        """Number of threads of a process."""
        return len(os.listdir(self._folder / "task"))

    def descriptors(self) -> int:
        """Number of open files of a process."""
        return len(os.listdir(self._folder / "fd"))

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="utf-8", errors="replace")


def cpu_seconds(stat: str) -> float:
    """Processor seconds of a process so far, from the text of /proc/PID/stat."""
    # The name in parentheses may itself contain spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def resident_memory(status: str) -> dict[str, float]:
    """Resident memory by kind of a benchmark's process, in megabytes (2**20 bytes), from
    /proc/PID/status.

    `VmRSS` is the sum of the next three; `VmHWM` is its maximum.
    """
    kinds = ("VmRSS", "RssAnon", "RssFile", "RssShmem", "VmHWM")
    lines = (line.partition(":") for line in status.splitlines())
    return {kind: int(value.split()[0]) / 1024 for kind, _, value in lines if kind in kinds}


def descendants(pid: int) -> list[int]:
    """The processes that one started, and those that these started, itself first."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return found
