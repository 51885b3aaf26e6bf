# SPDX-License-Identifier: Apache-2.0
"""Measure throughput and latency of each backend on this machine."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.evaluation.report_tables import Table
from mask_detector_ros.inference import BACKENDS, CPU_BACKENDS, is_installed
from mask_detector_ros.inference.gpu_choice import find_serving_gpu, obstacle
from mask_detector_ros.sources.sample_scene import SampleScene

WARM_UP = 40
"""Warm-up calls before a timing: the first calls of a shape record its CUDA graph."""

SCENES = 20
"""Number of different frames in a timing: consecutive ones of the sample scene, to and fro."""

CAMERAS = (1, 8)


def time_calls(call: Callable[[int], object], rounds: int) -> dict[str, float]:
    """Measure throughput: time a call after warm-up, in milliseconds; each call gets its index.

    `host_ms` is processor time of all threads of the process.
    """
    for number in range(min(rounds, WARM_UP)):
        call(number)
    seconds = []
    host = time.process_time()
    for number in range(rounds):
        start = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - start)
    host = time.process_time() - host
    p50, p99 = percentiles(seconds)
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "host_ms": round(1e3 * host / rounds, 3),
        "calls_per_s": round(rounds / sum(seconds), 1),
        "rounds": rounds,
    }


def percentiles(seconds: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """The median and the 99th percentile of a throughput measurement, in milliseconds."""
    return [round(float(p), 3) for p in np.percentile(seconds, [50, 99]) * 1e3]


def sample_frames() -> list[NDArray[np.uint8]]:
    """The 640x480 frames of a timing, to be taken in turn. Nobody jumps from one to the next."""
    scene = SampleScene(640, 480)
    frames = [scene.render(number)[0] for number in range(SCENES)]
    return frames + frames[-2:0:-1]


def time_detector(rounds: int, parameters: Mapping[str, Any], cameras: int = 1) -> dict[str, Any]:
    """Measure a detector's throughput on 640x480 frames of the sample scene, taking the cameras in
    turn.

    Args:
        rounds: total number of frames.
        cameras: number of cameras, without tracking.
    """
    detector = MaskDetector.load(**parameters)
    frames = sample_frames()
    streams = [detector.stream(tracking=False) for _ in range(cameras)]

    def call(number: int) -> None:
        streams[number % cameras](frames[number // cameras % len(frames)], number / cameras / 30)

    times = time_calls(call, rounds)
    faces = [len(detector(frame)) for frame in frames[:SCENES]]
    return {**times, "faces": faces, "on": detector.device}


def serving_backends(device: int, wanted: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """The backends whose throughput can be measured here, and the reason for each one that
    cannot."""
    gpu, why_not = find_serving_gpu(device)
    serving, reasons = [], {}
    for backend in wanted:
        if backend in CPU_BACKENDS:
            reason = "" if is_installed(backend) else "not installed"
        else:
            reason = obstacle(backend, gpu) if gpu is not None else why_not
        if reason:
            reasons[backend] = reason
        else:
            serving.append(backend)
    return serving, reasons


def throughput_table(
    rounds: int, parameters: Mapping[str, Any], backends: Iterable[str] = BACKENDS[::-1]
) -> tuple[Table, list[dict[str, Any]], dict[str, str]]:
    """Table of the throughput of one and eight cameras on each backend, GPUs first.

    Returns:
        The table, its rows with all figures, and the reason for each omitted backend, by name.
    """
    serving, absent = serving_backends(int(parameters.get("device", 0)), backends)
    rows = []
    for backend in serving:
        for cameras in CAMERAS:
            times = time_detector(rounds, {**parameters, "backend": backend}, cameras)
            rows.append({"backend": backend, "cameras": cameras, **times})
    head = ("backend", "cameras", "frames/s", "p50 ms", "p99 ms", "host ms", "on")
    keys = ("backend", "cameras", "calls_per_s", "p50_ms", "p99_ms", "host_ms", "on")
    cells = [tuple(row[key] for key in keys) for row in rows]
    return Table("Throughput, 640x480", head, cells), rows, absent
