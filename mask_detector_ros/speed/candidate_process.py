"""The contestants' processes, each in an environment of its own, and what they read."""

from __future__ import annotations

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
from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference import choose_backend, find_engine_gpu
from mask_detector_ros.inference.cores import fastest_processors
from mask_detector_ros.models import models_directory
from mask_detector_ros.speed.frames import Source
from mask_detector_ros.speed.lineup import MATRIX_PRODUCT, Entrant, Heat
from mask_detector_ros.speed.peer_environments import (
    PeerError,
    clean_environment,
    find_public_classifier,
    find_python,
)


class Process:
    """A contestant's process.

    Raises:
        PeerError: it could not be started, or ended before its time.
    """

    def __init__(self, python: Path, entrant: Entrant, room: Path, settings: Any) -> None:
        folder = room / ("with_ours" if entrant.sees_ours else "alone")
        command = [str(python), "-m", "contestants.worker", entrant.maker, str(room / "frames")]
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
        # Cores differ, by design or by what else runs on them: all contestants get the same ones.
        os.sched_setaffinity(self._process.pid, fastest_processors(settings["threads"]))
        try:
            self.versions: dict[str, str] = self._read()["versions"]
        except PeerError:
            self.close()
            raise

    def run(self, frame: str, min_face_size: int) -> dict[str, Any]:
        """Run once; seconds by wall clock and processor, and the boxes."""
        assert self._process.stdin is not None
        try:
            request = {"frame": frame, "min_face_size": min_face_size}
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words are read below
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise PeerError(f"ended: {last_words(self._errors.read())}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate()
        self._errors.close()


def last_words(errors: str) -> str:
    """The line that says why a process ended; what follows it are details."""
    lines = errors.strip().splitlines() or ["without a word"]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or lines)[-1]


def furnish(
    room: Path, frames: Mapping[Source, Sequence[NDArray[np.uint8]]]
) -> dict[Source, list[str]]:
    """Lay out what the processes read: code for those with and without our package, and frames.

    Returns:
        The file names of the frames, by source.
    """
    package = Path(mask_detector_ros.__file__).parent
    for name in ("alone", "with_ours"):
        (room / name).mkdir()
        (room / name / "contestants").symlink_to(package / "benchmark" / "contestants")
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
    heats: Sequence[Heat], room: Path, environments: Path, stack: ExitStack
) -> tuple[dict[tuple[Entrant, int], Process], dict[str, str]]:
    """Start every contestant once for each number of threads; `stack` ends them.

    Returns:
        The processes, and why a contestant cannot take part, by name.

    Raises:
        PeerError: one of ours cannot.
    """
    absent: dict[str, str] = {}
    wanted: dict[tuple[Entrant, int], set[int]] = {}
    for case, entrants in heats:
        for entrant in (MATRIX_PRODUCT, *entrants):
            wanted.setdefault((entrant, case.threads), set()).add(case.min_face_size)
    processes: dict[tuple[Entrant, int], Process] = {}
    bar: Iterable[tuple[tuple[Entrant, int], set[int]]] = tqdm(
        wanted.items(), desc="start", leave=False, disable=not sys.stderr.isatty()
    )
    for (entrant, threads), sizes in bar:
        try:
            python = find_interpreter(entrant, environments)
            settings = {"threads": threads, "min_face_sizes": sorted(sizes), **entrant.settings}
            if entrant.classifier_as:
                settings[entrant.classifier_as] = str(find_public_classifier(environments))
            process = Process(python, entrant, room, settings)
        except PeerError as error:
            if entrant.is_at_home:
                raise PeerError(f"{entrant.name} {error}") from error
            absent[entrant.name] = str(error)
            continue
        stack.callback(process.close)
        processes[entrant, threads] = process
    return processes, absent


def find_interpreter(entrant: Entrant, environments: Path) -> Path:
    """The Python that a contestant runs on.

    Raises:
        PeerError: its environment was not made, or there is no GPU for it.
    """
    if entrant.needs_gpu:
        try:
            choose_backend("tensorrt")
        except BackendError as error:
            raise PeerError(f"needs a GPU: {error}") from error
        if not find_engine_gpu(0):
            raise PeerError("needs a GPU that TensorRT can use; there is none")
    if not entrant.environment:
        return Path(sys.executable)
    return find_python(entrant.environment, environments)
