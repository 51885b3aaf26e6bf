# SPDX-License-Identifier: Apache-2.0
"""Run the subjects of a benchmark as processes, each in a separate environment."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import mask_detector_ros
from mask_detector_ros.inference.cores import fastest_processors
from mask_detector_ros.inference.gpu_choice import find_serving_gpu, obstacle
from mask_detector_ros.models import models_directory
from mask_detector_ros.speed.benchmark_frames import Source
from mask_detector_ros.speed.case_subjects import MATRIX_PRODUCT, Run, Subject
from mask_detector_ros.speed.peer_environments import (
    PeerError,
    clean_environment,
    find_public_classifier,
    find_python,
)


class Process:
    """A subject's process.

    Raises:
        PeerError: the process could not be started, or ended early.
    """

    def __init__(self, python: Path, subject: Subject, room: Path, settings: Any) -> None:
        folder = room / ("with_ours" if subject.imports_package else "alone")
        command = [str(python), "-m", "subjects.worker", subject.maker, str(room / "frames")]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed with the process
        self._process = subprocess.Popen(
            [*command, json.dumps(settings)],
            cwd=folder,
            env=clean_environment(settings["threads"]) | {"PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        # Cores differ by design and by load, so all subjects use the same ones.
        os.sched_setaffinity(self._process.pid, fastest_processors(settings["threads"]))
        try:
            self.versions: dict[str, str] = self._read()["versions"]
        except PeerError:
            self.close()
            raise

    def run(self, frame: str, min_face_size: int) -> dict[str, Any]:
        """Run the subject once in its process; return wall-clock seconds, processor seconds and
        the boxes."""
        assert self._process.stdin is not None
        try:
            request = {"frame": frame, "min_face_size": min_face_size}
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its last output is read below
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise PeerError(f"ended: {failure_reason(self._errors.read())}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the subject's process."""
        self._process.terminate()
        self._process.communicate()
        self._errors.close()


def failure_reason(errors: str) -> str:
    """The line that says why a subject's process ended; the lines after it are details."""
    lines = errors.strip().splitlines() or ["without a word"]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or lines)[-1]


def set_up(
    room: Path, frames: Mapping[Source, Sequence[NDArray[np.uint8]]]
) -> dict[Source, list[str]]:
    """Write what the subjects' processes read: code for those with and without our package, and
    frames.

    Returns:
        The file names of the frames, by source.
    """
    package = Path(mask_detector_ros.__file__).parent
    for name in ("alone", "with_ours"):
        (room / name).mkdir()
        (room / name / "subjects").symlink_to(package / "speed" / "subjects")
    (room / "with_ours" / "mask_detector_ros").symlink_to(package)
    (room / "with_ours" / "models").symlink_to(models_directory())
    (room / "frames").mkdir()
    names: dict[Source, list[str]] = {}
    for number, (source, images) in enumerate(frames.items()):
        names[source] = [f"{number}_{index}.npy" for index in range(len(images))]
        for name, image in zip(names[source], images, strict=True):
            np.save(room / "frames" / name, image)
    return names


def start(
    runs: Sequence[Run], room: Path, environments: Path, stack: ExitStack
) -> tuple[dict[tuple[Subject, int], Process], dict[str, str]]:
    """Start the process of every subject once per number of threads; `stack` ends them.

    Returns:
        The processes, and the reason for each missing subject, by name.

    Raises:
        PeerError: one of our own subjects cannot be started.
    """
    absent: dict[str, str] = {}
    wanted: dict[tuple[Subject, int], set[int]] = {}
    for case, subjects in runs:
        for subject in (MATRIX_PRODUCT, *subjects):
            wanted.setdefault((subject, case.threads), set()).add(case.min_face_size)
    processes: dict[tuple[Subject, int], Process] = {}
    bar: Iterable[tuple[tuple[Subject, int], set[int]]] = tqdm(
        wanted.items(), desc="start", leave=False, disable=None
    )
    for (subject, threads), sizes in bar:
        try:
            python = find_interpreter(subject, environments)
            settings = {"threads": threads, "min_face_sizes": sorted(sizes), **subject.settings}
            if subject.classifier_as:
                settings[subject.classifier_as] = str(find_public_classifier(environments))
            process = Process(python, subject, room, settings)
        except PeerError as error:
            if subject.needs_no_environment:
                raise PeerError(f"{subject.name} {error}") from error
            absent[subject.name] = str(error)
            continue
        stack.callback(process.close)
        processes[subject, threads] = process
    return processes, absent


def find_interpreter(subject: Subject, environments: Path) -> Path:
    """The Python interpreter of a subject's process.

    Raises:
        PeerError: its environment does not exist, or it needs a GPU and there is none.
    """
    if subject.needs_gpu:
        gpu, reason = find_serving_gpu(0)
        if gpu is not None:
            reason = obstacle(str(subject.settings["backend"]), gpu)
        if reason:
            raise PeerError(f"needs a GPU: {reason}")
    if not subject.environment:
        return Path(sys.executable)
    return find_python(subject.environment, environments)
