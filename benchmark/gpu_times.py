# SPDX-License-Identifier: Apache-2.0
"""Times of networks and of the whole detector on a GPU."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.inference import EngineOptions, create_session
from mask_detector_ros.ros.worker import NewestItemWorker
from mask_detector_ros.sources.sample_scene import SampleScene
from mask_detector_ros.speed.throughput import WARM_UP, percentiles, time_calls

CAMERAS = 8
MIN_SHARE = 0.8
"""Minimum ratio of the lowest to the highest camera frame count."""


def time_cameras(rounds: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Time eight cameras with one detector on the GPU, as in the node: newest frame first, cameras
    in turn.

    Every camera always has a frame waiting, so the shares depend only on the worker.
    """
    detector = MaskDetector.load(**parameters)
    scene = SampleScene(640, 480)
    frames = [scene.render(4 * number)[0] for number in range(CAMERAS)]
    streams = [detector.stream() for _ in range(CAMERAS)]
    for number in range(min(rounds, WARM_UP)):
        streams[number % CAMERAS](frames[number % CAMERAS], time.monotonic())
    ends: list[list[float]] = [[] for _ in range(CAMERAS)]
    over = threading.Event()

    def process(camera: int, frame: Any) -> None:
        streams[camera](frame, time.monotonic())
        ends[camera].append(time.monotonic())
        if sum(map(len, ends)) >= rounds:
            over.set()
        else:
            worker.submit(camera, frame)

    worker: NewestItemWorker[int, Any] = NewestItemWorker(process, over.set)
    start = time.monotonic()
    for camera, frame in enumerate(frames):
        worker.submit(camera, frame)
    over.wait()
    worker.stop(None)
    seconds = max(stamps[-1] for stamps in ends if stamps) - start
    counts = [len(stamps) for stamps in ends]
    assert sum(counts) >= rounds, "the detector failed; see the traceback above"
    share = min(counts) / max(counts)
    assert share >= MIN_SHARE or rounds < 10 * CAMERAS, (
        f"the frames per camera are unfair: {counts}"
    )
    gaps = np.concatenate([np.diff(stamps) for stamps in ends])
    p50, p99 = percentiles(gaps) if len(gaps) else (0.0, 0.0)
    return {
        "frames_per_s": round(sum(counts) / seconds, 1),
        "frames_by_camera": counts,
        "least_to_most": round(share, 3),
        "interval_p50_ms": p50,
        "interval_p99_ms": p99,
        "on": detector.device,
    }


def time_network(
    model: bytes, name: str, backend: str, options: EngineOptions, rounds: int
) -> dict[str, Any]:
    """Time one network on the GPU at batch sizes 1, 8 and 64, or for one image."""
    session = create_session(model, name, backend, options=options)
    (tensor,) = session.inputs
    times: dict[str, Any] = {}
    is_image = -1 in tensor.shape[1:]
    image = (384, 512, 3) if tensor.shape[-1] == 3 else (3, 144, 640)
    # CUDA can process the proposals of eight cameras in one call.
    batches = (1, 8) if is_image and backend == "cuda" else (1,) if is_image else (1, 8, 64)
    for batch in batches:
        shape = (batch, *(image if is_image else tensor.shape[1:]))
        pixels = np.random.default_rng(batch).integers(0, 256, shape, np.uint8)
        feed = {tensor.name: pixels.astype(tensor.dtype)}
        times[f"batch {batch}"] = time_calls(lambda _, f=feed: session.run(**f), rounds)
    return times
