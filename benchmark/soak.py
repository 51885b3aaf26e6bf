# SPDX-License-Identifier: Apache-2.0
"""Does the node live through everything? Fault after fault, and a look at it after each.

    python -m benchmark.soak [--minutes M | --cycles N] [--out FILE]

With `--cycles`, whole lifecycle cycles instead: models freed and loaded again each time. Exit
code 1 when it did not recover, leaked a thread or grew.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from benchmark.faults import FAULTS
from benchmark.memory import resident_memory
from benchmark.processes import Lost
from benchmark.rig import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    Rig,
)
from mask_detector_ros.ros.demo.graph import graph_environment
from mask_detector_ros.speed.machine import describe_machine

STEADY_SECONDS = 10.0
"""Of images as fast as they are processed, after each round; then the process is looked at."""

WARM_UP_ROUNDS = 2
MAX_GROWTH_MB = 10.0
"""By which the floor of the memory may rise from the first half of the rounds to the second.

The floor, since what images of all sizes leave in the heap differs from round to round by tens
of megabytes, in both directions; a leak raises the floor.
"""


@dataclass
class Report:
    """What happened.

    Attributes:
        recoveries: seconds that each recovery took, by fault.
        lost: what did not recover, by fault.
        rounds: (frames so far, megabytes, threads) after each round.
    """

    recoveries: dict[str, list[float]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    rounds: list[tuple[int, float, int]] = field(default_factory=list)
    frames: int = 0

    @property
    def growth(self) -> float:
        """Megabytes by which the floor of the resident memory rose since the warm-up."""
        megabytes = [m for _, m, _ in self.rounds[WARM_UP_ROUNDS:]]
        half = len(megabytes) // 2
        return min(megabytes[half:]) - min(megabytes[:half]) if half else 0.0

    @property
    def leaked_threads(self) -> int:
        """Since the warm-up."""
        threads = [n for _, _, n in self.rounds[WARM_UP_ROUNDS - 1 :]]
        return threads[-1] - threads[0] if threads else 0

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, leaked or grew."""
        return (
            bool(self.rounds)
            and not self.lost
            and self.leaked_threads <= 0
            and self.growth < MAX_GROWTH_MB
        )


def soak(rig: Rig, minutes: float, scale: float = 1.0) -> Report:
    """Round after round, each with every fault in an order of its own."""
    report, order = Report(), random.Random(0)
    end = time.monotonic() + 60 * minutes
    while not report.rounds or (time.monotonic() < end and rig.detector.poll() is None):
        for fault in order.sample(FAULTS, len(FAULTS)):
            name = fault.__name__
            try:
                fault(rig, scale)
                seconds = rig.recover()
                report.recoveries.setdefault(name, []).append(seconds)
                print(f"{name:<26} recovered in {seconds:5.2f} s", flush=True)
            except (Lost, AssertionError) as error:
                report.lost.append(f"{name}: {error}")
                print(f"{name:<26} LOST: {error}", flush=True)
                if rig.detector.poll() is not None:
                    return report
        steady = time.monotonic() + STEADY_SECONDS * scale
        while time.monotonic() < steady:
            rig.recover()
        report.rounds.append(cycle_and_look(rig))
        report.frames, memory, threads = report.rounds[-1]
        print(
            f"round {len(report.rounds)}: {rig.frames} frames, {memory:.0f} MB, {threads} threads",
            flush=True,
        )
    return report


def cycle(rig: Rig, count: int) -> Report:
    """So many whole lifecycle cycles, after each of which the node must answer an image."""
    report = Report()
    for _ in tqdm(range(count), unit="cycle"):
        try:
            report.rounds.append(cycle_and_look(rig))
            rig.camera.publish(rig.image())
            report.recoveries.setdefault("lifecycle_cycle", []).append(rig.recover())
        except Lost as error:
            report.lost.append(f"cycle {len(report.rounds)}: {error}")
            if rig.detector.poll() is not None:
                break
    report.frames = rig.frames
    return report


def cycle_and_look(rig: Rig) -> tuple[int, float, int]:
    """One whole lifecycle cycle; return frames so far, megabytes and threads.

    The threads are those at work; the memory is looked at where it is always the same: without
    models.
    """
    threads = rig.threads()
    rig.change_state(DEACTIVATE, CLEANUP)
    kinds = resident_memory(Path(f"/proc/{rig.detector.pid}/status").read_text("ascii"))
    rig.change_state(CONFIGURE, ACTIVATE)
    # Without the segments that DDS shares with its peers, 64 MB each, which come and go.
    return rig.frames, kinds["VmRSS"] - kinds["RssShmem"], threads


def main(argv: Sequence[str] | None = None) -> int:
    """Soak, print, and write a JSON file."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10.0, help="of faults")
    length.add_argument("--cycles", type=int, help="whole lifecycle cycles, instead of faults")
    parser.add_argument("--backend", default="auto", help="of the detector")
    parser.add_argument("--out", type=Path, default=Path("out/soak.json"))
    arguments = parser.parse_args(argv)
    if arguments.cycles is not None and arguments.cycles < 1:
        parser.error(f"--cycles must be 1 or more, got {arguments.cycles}")
    with tempfile.TemporaryDirectory(prefix="soak_") as folder:
        # Both processes must join the same graph, and the DDS profile must be there at start.
        os.environ.update({**graph_environment(), "ROS_LOG_DIR": folder})
        rig = Rig(Path(folder), arguments.backend)
        start = time.monotonic()
        try:
            report = (
                cycle(rig, arguments.cycles) if arguments.cycles else soak(rig, arguments.minutes)
            )
        finally:
            rig.close()
        seconds = time.monotonic() - start
    done = sum(map(len, report.recoveries.values()))
    what = "cycles" if arguments.cycles else "faults"
    for name, times in sorted(report.recoveries.items()):
        print(f"{name:<26}{len(times):>4} times, recovered in {max(times):.2f} s at most")
    print(
        f"\n{'passed' if report.passed else 'FAILED'}: {done} {what} in {seconds / 60:.1f} min,"
        f" {len(report.lost)} lost recoveries, {report.leaked_threads:+d} threads,"
        f" {report.growth:+.1f} MB in the floor of its memory,"
        f" {report.frames} frames processed"
    )
    result = {
        "machine": describe_machine(),
        "seconds": round(seconds, 1),
        "recoveries": report.recoveries,
        "lost": report.lost,
        "rounds": report.rounds,
        "passed": report.passed,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written: {arguments.out}")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
