# SPDX-License-Identifier: Apache-2.0
"""Soak test: inject fault after fault, and check the node after each.

    python -m benchmark.soak [--minutes M | --cycles N] [--every SECONDS] [--out FILE]

With `--every`, the test injects one fault per interval, and in between publishes images of changing
sizes as fast as they are processed. It then examines the process after each fault, not after each
round. With `--cycles`, it runs whole lifecycle cycles instead, which free and load the models. The
exit code is 1 if a recovery failed, a thread or a descriptor leaked, or memory grew.
"""

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm import tqdm

from benchmark.processes import Lost
from benchmark.reporting import write_report
from benchmark.soak_faults import FAULTS
from benchmark.soak_rig import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, Rig
from mask_detector_ros.ros.demo.graph import graph_environment

STEADY_SECONDS = 10.0
"""Seconds of images at full speed after each round, before the process is measured."""

WARM_UP_ROUNDS = 2
MAX_GROWTH_MB = 10.0
"""Megabytes by which the floor of the memory may rise from the first half of the rounds to the
second.

It uses the floor because heap fragmentation from images of all sizes varies by tens of megabytes
between rounds; a leak raises the floor.
"""


@dataclass(frozen=True)
class Sample:
    """The memory, threads and open files of the detector process at one moment of the soak test.

    Attributes:
        seconds: since the start.
        frames: processed so far.
        working_mb, threads, descriptors: while the node is active, with models.
        idle_mb: without models, after cleanup.
    """

    seconds: float
    frames: int
    working_mb: float
    threads: int
    descriptors: int
    idle_mb: float


@dataclass
class Report:
    """The results of the soak test.

    Attributes:
        recoveries: seconds that each recovery took, by fault.
        lost: failed recoveries, by fault.
        rounds: the process after each round.
    """

    recoveries: dict[str, list[float]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    rounds: list[Sample] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Number of frames processed during the soak test."""
        return self.rounds[-1].frames if self.rounds else 0

    @property
    def growth(self) -> float:
        """Megabytes by which the minimum of the resident memory rose since the warm-up of the soak
        test."""
        return self._rise("idle_mb")

    @property
    def leaked_threads(self) -> int:
        """Number of threads leaked since the warm-up of the soak test."""
        return round(self._rise("threads"))

    @property
    def leaked_descriptors(self) -> int:
        """Number of open files leaked since the warm-up of the soak test."""
        return round(self._rise("descriptors"))

    def _rise(self, what: str) -> float:
        values = [getattr(sample, what) for sample in self.rounds[WARM_UP_ROUNDS:]]
        half = len(values) // 2
        return min(values[half:]) - min(values[:half]) if half else 0.0

    @property
    def passed(self) -> bool:
        """Whether the soak test lost nothing, leaked nothing, and memory did not grow."""
        return (
            bool(self.rounds)
            and not self.lost
            and self.leaked_threads <= 0
            and self.leaked_descriptors <= 0
            and self.growth < MAX_GROWTH_MB
        )


def soak(rig: Rig, minutes: float, every: float = 0.0) -> Report:
    """Run the soak test: in each round inject every fault once, in random order.

    Args:
        rig: the node under test.
        minutes: after this time no other round begins.
        every: seconds between two faults; 0 for one after another.
    """
    report, order = Report(), random.Random(0)
    start = time.monotonic()
    end, next_fault = start + 60 * minutes, start
    while not report.rounds or (time.monotonic() < end and rig.detector.poll() is None):
        for fault in order.sample(FAULTS, len(FAULTS)):
            if every and time.monotonic() > end:
                break
            if not _survives(rig, fault, report):
                return report
            if every:
                next_fault = max(next_fault + every, time.monotonic() + STEADY_SECONDS)
                _work(rig, next_fault - time.monotonic(), start, report, rig.stream)
        if not every:
            _work(rig, STEADY_SECONDS, start, report, rig.recover_for)
    return report


def _survives(rig: Rig, fault: Callable[[Rig, float], None], report: Report) -> bool:
    """Bring one fault about and write down the recovery; whether the node still runs."""
    name = fault.__name__
    try:
        fault(rig, 1.0)
        seconds = rig.recover()
        report.recoveries.setdefault(name, []).append(seconds)
        print(f"{name:<26} recovered in {seconds:5.2f} s", flush=True)
    except (Lost, AssertionError) as error:
        _write_down(rig, name, error, report)
    return rig.detector.poll() is None


def _work(
    rig: Rig, seconds: float, start: float, report: Report, feed: Callable[[float], None]
) -> None:
    """Feed the node for some seconds, then examine it."""
    try:
        feed(seconds)
        report.rounds.append(_examine(rig, start))
    except Lost as error:
        _write_down(rig, feed.__name__, error, report)


def _write_down(rig: Rig, name: str, error: Exception, report: Report) -> None:
    report.lost.append(f"{name}: {error}")
    print(
        f"{name:<26} LOST: {error}\n  diagnostics: {rig.status}; the node's log ends with\n"
        f"{rig.last_words(rig.detector)}",
        flush=True,
    )


def cycle(rig: Rig, count: int) -> Report:
    """Run lifecycle cycles; after each the node must process an image."""
    report = Report()
    start = time.monotonic()
    for _ in tqdm(range(count), unit="cycle"):
        try:
            report.rounds.append(_examine(rig, start, out=tqdm.write))
            rig.camera.publish(rig.image())
            report.recoveries.setdefault("lifecycle_cycle", []).append(rig.recover())
        except Lost as error:
            report.lost.append(f"cycle {len(report.rounds)}: {error}")
            if rig.detector.poll() is not None:
                break
    return report


def _examine(rig: Rig, start: float, out: Callable[[str], object] = print) -> Sample:
    """One whole lifecycle cycle: the process at work and without models."""
    threads, descriptors = rig.process.threads(), rig.process.descriptors()
    working = rig.memory()
    rig.change_state(DEACTIVATE, CLEANUP)
    idle = rig.memory()
    rig.change_state(CONFIGURE, ACTIVATE)
    seconds = round(time.monotonic() - start, 1)
    sample = Sample(seconds, rig.frames, working, threads, descriptors, idle)
    out(
        f"{seconds:7.0f} s: {rig.frames} frames, {working:.0f} MB at work and {idle:.0f} MB"
        f" without models, {threads} threads, {descriptors} descriptors"
    )
    return sample


def main(argv: Sequence[str] | None = None) -> int:
    """Soak, print, and write a JSON file."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10.0, help="minutes of faults")
    length.add_argument(
        "--cycles", type=int, help="run this many lifecycle cycles instead of faults"
    )
    parser.add_argument(
        "--every", type=float, default=0.0, help="seconds between faults; 0: no pause"
    )
    parser.add_argument("--backend", default="auto", help="backend of the detector")
    parser.add_argument("--out", type=Path, default=Path("out/soak.json"))
    arguments = parser.parse_args(argv)
    if arguments.cycles is not None and arguments.cycles < 1:
        parser.error(f"--cycles must be 1 or more, got {arguments.cycles}")
    with tempfile.TemporaryDirectory(prefix="soak_") as folder:
        # Both processes must join the same graph, and DDS reads the profile at start.
        os.environ.update({**graph_environment(), "ROS_LOG_DIR": folder})
        with contextlib.closing(Rig(Path(folder), arguments.backend)) as rig:
            start = time.monotonic()
            report = (
                cycle(rig, arguments.cycles)
                if arguments.cycles
                else soak(rig, arguments.minutes, every=arguments.every)
            )
        seconds = time.monotonic() - start
    done = sum(map(len, report.recoveries.values()))
    what = "cycles" if arguments.cycles else "faults"
    for name, times in sorted(report.recoveries.items()):
        print(f"{name:<26}{len(times):>4} times, recovered in {max(times):.2f} s at most")
    print(
        f"\n{'passed' if report.passed else 'FAILED'}: {done} {what} in {seconds / 60:.1f} min,"
        f" {len(report.lost)} lost recoveries, {report.leaked_threads:+d} threads,"
        f" {report.leaked_descriptors:+d} descriptors,"
        f" {report.growth:+.1f} MB in the floor of its memory,"
        f" {report.frames} frames processed"
    )
    write_report(
        arguments.out,
        seconds=round(seconds, 1),
        recoveries=report.recoveries,
        lost=report.lost,
        rounds=[asdict(sample) for sample in report.rounds],
        passed=report.passed,
    )
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
