# SPDX-License-Identifier: Apache-2.0
"""Start simulated robots as processes, and evaluate the results that they print."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.fleet.simulated_robot import FAILED, READY
from benchmark.processes import Lost, wait_for

SERVER = "triton"
"""The source of a frame that the server processed."""


@dataclass(frozen=True)
class Result:
    """One frame of a robot: when its result came, how long it took, who processed it."""

    end: float
    latency: float
    source: str


class Robots:
    """The processes of several simulated robots with the same parameters.

    Args:
        count: number of robots.
        rate: frames a second of each.
        prefix: a command that starts them, such as in a network namespace.
        parameters: parameters of their detectors.
    """

    def __init__(
        self, count: int, rate: float, prefix: Sequence[str] = (), **parameters: object
    ) -> None:
        self.rate = rate
        self._folder = tempfile.TemporaryDirectory(prefix="fleet_check_")
        self._logs = [Path(self._folder.name) / f"{number}.log" for number in range(count)]
        module = "benchmark.fleet.simulated_robot"
        command = [*prefix, sys.executable, "-m", module, f"--rate={rate}"]
        command += [f"{name}={value}" for name, value in parameters.items()]
        self._processes = []
        for log in self._logs:
            with log.open("wb") as file, log.with_suffix(".err").open("wb") as errors:
                self._processes.append(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=errors)
                )

    def wait_until_ready(self) -> None:
        """Wait until the detectors of all robots have loaded.

        Raises:
            Lost: one ended, or takes too long.
        """
        wait_for(
            lambda: all(READY in log.read_text() for log in self._logs) or self._ended(), READY
        )
        if self._ended():
            errors = [log.with_suffix(".err").read_text().strip() for log in self._logs]
            raise Lost(f"a robot ended: {next(filter(None, errors), 'no reason given')[-300:]}")

    def _ended(self) -> bool:
        return any(process.poll() is not None for process in self._processes)

    @property
    def pids(self) -> list[int]:
        """The process ids of the robots."""
        return [process.pid for process in self._processes]

    def results(self, since: float = 0.0, until: float = np.inf) -> list[list[Result]]:
        """The results of each robot between two moments of the monotonic clock."""
        return [
            [r for r in map(_parse, _lines(log)) if since <= r.end <= until] for log in self._logs
        ]

    def all_from(self, source: str, since: float) -> bool:
        """Whether the last three results of every robot came after a moment and from this
        source."""
        last = [results[-3:] for results in self.results(since)]
        return all(len(each) == 3 and all(r.source == source for r in each) for each in last)

    def __enter__(self) -> Robots:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._folder.cleanup()


def _lines(log: Path) -> list[str]:
    lines = log.read_text().split("\n")
    # What follows the last newline may be half a line.
    return [line for line in lines[:-1] if line and line != READY]


def _parse(line: str) -> Result:
    end, latency, source, _ = line.split()
    return Result(float(end), float(latency), source)


@dataclass(frozen=True)
class Figures:
    """Statistics of several robots over a period.

    Attributes:
        rate: results a second, all robots together.
        served: share of the results that came from the server.
        failed: share of the frames that got no result.
        p50, p99: seconds from a frame to its result.
        gap: seconds that a robot had no result, at most.
        fairness: Jain's index over the robots' results from the server, 1 if all got as many.
        failure_time: median of the seconds after which a frame was given up; nan without one.
    """

    rate: float
    served: float
    failed: float
    p50: float
    p99: float
    gap: float
    fairness: float
    failure_time: float


def measure(robots: Robots, start: float, end: float | None = None) -> Figures:
    """Compute the robots' statistics between two moments of the monotonic clock, or until now."""
    end = time.monotonic() if end is None else end
    groups = robots.results(start, end)
    frames = [result for group in groups for result in group]
    good = [r for r in frames if r.source != FAILED]
    failures = [r.latency for r in frames if r.source == FAILED]
    latencies = np.array([r.latency for r in good] or [np.nan])
    served = np.array([sum(r.source == SERVER for r in group) for group in groups], float)
    gaps = [
        np.diff([start, *(r.end for r in group if r.source != FAILED), end]).max()
        for group in groups
    ]
    return Figures(
        rate=len(good) / (end - start),
        served=float(served.sum()) / max(len(good), 1),
        failed=len(failures) / max(len(frames), 1),
        p50=float(np.percentile(latencies, 50)),
        p99=float(np.percentile(latencies, 99)),
        gap=float(max(gaps)),
        fairness=float(served.sum() ** 2 / (len(served) * (served**2).sum()))
        if served.any()
        else 1,
        failure_time=float(np.median(failures)) if failures else np.nan,
    )
