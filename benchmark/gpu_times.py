"""Times of networks and of the whole detector on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.inference import EngineOptions, create_session
from mask_detector_ros.models import find_classifier, find_detector
from mask_detector_ros.sources.sample_scene import SampleScene
from mask_detector_ros.speed.measures import spread

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")

WARM_UP = 5
"""Calls before a timing begins: the first two of a shape record its CUDA graph."""


def networks() -> dict[str, bytes]:
    """The shipped models."""
    return find_detector("mtcnn_masked") | {"classifier": find_classifier("mask_classifier")}


def time_calls(call: Callable[[], object], rounds: int) -> dict[str, float]:
    """Milliseconds of a call, after warming up."""
    for _ in range(min(rounds, WARM_UP)):
        call()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    median, low, high = spread(np.array(seconds))
    return {"median_ms": round(median, 3), "p25_ms": round(low, 3), "p75_ms": round(high, 3)}


def time_detector(rounds: int, **parameters: Any) -> dict[str, Any]:
    """A frame of the sample scene through the whole detector."""
    detector = MaskDetector.load(**parameters)
    picture, _ = SampleScene(640, 480).render(0)
    times = time_calls(lambda: detector(picture), rounds)
    fps = round(1000 / times["median_ms"], 1)
    return {**times, "frames_per_s": fps, "faces": len(detector(picture)), "on": detector.device}


def time_networks(precision: str, folder: str, rounds: int) -> dict[str, Any]:
    """Each network by itself at batch 1, 8 and 64, against ONNX Runtime on the same GPU."""
    import onnxruntime as ort

    times: dict[str, Any] = {}
    options = EngineOptions(precision=precision, engine_cache_dir=folder)
    for name, model in networks().items():
        session = create_session(model, name, "tensorrt", options=options)
        cuda = ort.InferenceSession(
            model, providers=[p for p in PROVIDERS if p in ort.get_available_providers()]
        )
        # The live session says what it got; the list of providers has lied.
        has_cuda = cuda.get_providers()[0] == PROVIDERS[0]
        (tensor,) = session.inputs
        is_image = -1 in tensor.shape[1:]
        for batch in (1,) if is_image else (1, 8, 64):
            shape = (1, 3, 144, 640) if is_image else (batch, *tensor.shape[1:])
            feed = {tensor.name: np.zeros(shape, tensor.dtype)}
            entry = {"tensorrt": time_calls(lambda s=session, f=feed: s.run(**f), rounds)}
            if has_cuda:
                call = lambda s=cuda, f=feed: s.run(None, f)  # noqa: E731
                entry["onnxruntime_cuda"] = time_calls(call, rounds)
            times[f"{name}, batch {batch}"] = entry
    return times
