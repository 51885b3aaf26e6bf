# SPDX-License-Identifier: Apache-2.0
"""Time the subjects interleaved, frame by frame."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mask_detector_ros.speed.benchmark_frames import Source, source_of
from mask_detector_ros.speed.case_subjects import MATRIX_PRODUCT, Run, Subject
from mask_detector_ros.speed.cases import Case
from mask_detector_ros.speed.peer_environments import PeerError
from mask_detector_ros.speed.subject_process import Process, set_up, start

WARM_UP_ROUNDS = 5
"""Warm-up rounds. OpenVINO compiles a network for each shape that recurs, and not every round
has every batch size. Peers do not compile by shape and run only in the last of these rounds."""


@dataclass
class Times:
    """The timed calls of one subject in one case.

    Attributes:
        calls: per round, (wall, processor) seconds per frame.
        boxes: (N, 4) for each frame, from the warm-up.
    """

    calls: list[list[tuple[float, float]]] = field(default_factory=list)
    boxes: list[NDArray[np.float64]] = field(default_factory=list)

    def seconds(self, clock: int = 0) -> NDArray[np.float64]:
        """(rounds, frames) seconds of a subject's timed calls, by wall clock (0) or processor
        (1)."""
        return np.array(self.calls)[..., clock]


@dataclass
class Timings:
    """The timings of all subjects.

    Attributes:
        times: the times by case and subject name.
        peak: times of the matrix product, by case.
        versions: versions of each subject's packages, by name.
        absent: why a subject is missing, by name.
    """

    times: dict[tuple[Case, str], Times] = field(default_factory=dict)
    peak: dict[Case, Times] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def drop(self, name: str, reason: str) -> None:
        """Discard the timings of a subject that ended early."""
        self.absent[name] = reason
        self.times = {key: times for key, times in self.times.items() if key[1] != name}


def measure_runs(
    runs: Sequence[Run],
    frames: Mapping[Source, Sequence[NDArray[np.uint8]]],
    rounds: int,
    environments: Path,
    in_a_row: bool = False,
) -> Timings:
    """Time all subjects over the frames of their cases, interleaved.

    Args:
        frames: the frames by source, see `benchmark_frames.source_of`.
        rounds: rounds over the frames of each case, after the warm-up rounds.
        in_a_row: whether the subjects take turns after each round instead of each frame.

    Raises:
        PeerError: one of ours cannot be started.
    """
    timings = Timings()
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = set_up(room, frames)
        processes, timings.absent = start(runs, room, environments, stack)
        timings.versions = {subject.name: p.versions for (subject, _), p in processes.items()}
        steps = sum(len(names[source_of(case)]) for case, _ in runs)
        total = (WARM_UP_ROUNDS + rounds) * steps
        progress = stack.enter_context(tqdm(total=total, unit="frame", disable=None))
        for case, subjects in runs:
            progress.set_postfix_str(str(case))
            present = {
                c: processes[c, case.threads]
                for c in (MATRIX_PRODUCT, *subjects)
                if (c, case.threads) in processes
            }
            for number in range(WARM_UP_ROUNDS + rounds):
                settling = number < WARM_UP_ROUNDS - 1
                taking_part = {
                    c: p for c, p in present.items() if c.imports_package or not settling
                }
                files = names[source_of(case)]
                run_round(timings, case, taking_part, files, number, progress, in_a_row)
    return timings


def run_round(
    timings: Timings,
    case: Case,
    processes: Mapping[Subject, Process],
    files: Sequence[str],
    number: int,
    progress: Any,
    in_a_row: bool = False,
) -> None:
    """Time one round over the frames of one case; warm-up rounds are not recorded."""
    answers: dict[Subject, list[dict[str, Any]]] = {subject: [] for subject in processes}
    order = list(processes)
    for index, turn in enumerate([files] if in_a_row else [[file] for file in files]):
        # Vary the order, so that no subject always runs after the same one.
        shift = (number + index) % len(order)
        for subject, file in product(order[shift:] + order[:shift], turn):
            if subject.name not in timings.absent:
                try:
                    answers[subject].append(processes[subject].run(file, case.min_face_size))
                except PeerError as error:
                    timings.drop(subject.name, str(error))
        progress.update(len(turn))
    for subject in order:
        if subject.name in timings.absent:
            continue
        if subject is MATRIX_PRODUCT:
            times = timings.peak.setdefault(case, Times())
        else:
            times = timings.times.setdefault((case, subject.name), Times())
        if number < WARM_UP_ROUNDS:
            times.boxes = [np.reshape(a["boxes"], (-1, 4)) for a in answers[subject]]
        else:
            times.calls.append([(a["wall"], a["cpu"]) for a in answers[subject]])
