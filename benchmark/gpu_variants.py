# SPDX-License-Identifier: Apache-2.0
"""Where the time of a frame goes on this GPU, and what other settings would give, in a minute.

    python -m benchmark.gpu_variants [--rounds N] [--seconds N] [--out FILE]

Times the whole cascade in one CUDA graph: upload, run and download with each set of ONNX Runtime's
options; the same frame or others in turn; with and without tracking; two frames at a time.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmark.gpu_check import DEFAULTS, Checks, add_options, print_report, write_report
from benchmark.gpu_networks import write_cascade
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.inference import create_session, onnxruntime_cuda
from mask_detector_ros.inference.fixed_slots import to_fixed_slots
from mask_detector_ros.inference.gpu_choice import require_backend
from mask_detector_ros.inference.gpus import Gpu, find_gpu
from mask_detector_ros.inference.onnxruntime_cuda import CudaSession
from mask_detector_ros.inference.session import Array
from mask_detector_ros.models import OWN_LABELS
from mask_detector_ros.speed.throughput import WARM_UP, percentiles, sample_frames, time_calls

TF32, SEARCH = {"use_tf32": "1"}, {"cudnn_conv_algo_search": "EXHAUSTIVE"}

VARIANTS: dict[str, tuple[dict[str, str], bool]] = {
    "as shipped": ({}, True),
    "TF32": (TF32, True),
    "all algorithms tried": (SEARCH, True),
    "TF32, all algorithms tried": ({**TF32, **SEARCH}, True),
    "TF32, all algorithms tried, channels last": ({**TF32, **SEARCH, "prefer_nhwc": "1"}, True),
    "without CUDA graphs": ({}, False),
}
"""Options of ONNX Runtime's CUDA provider, and whether CUDA graphs are used."""


class _TimedSession(CudaSession):
    """A session that records the seconds of upload, run and download in the GPU's thread."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.seconds: list[tuple[float, float, float]] = []
        super().__init__(*arguments, **options)

    def _run_filled(
        self, arrays: Mapping[str, Array], shapes: dict[str, tuple[int, ...]]
    ) -> dict[str, Array]:
        buffers = self._buffers_for(shapes)
        start = time.perf_counter()
        buffers.upload(arrays)
        uploaded = time.perf_counter()
        self._execute(buffers)
        done = time.perf_counter()
        results = buffers.download()
        end = time.perf_counter()
        self.seconds.append((uploaded - start, done - uploaded, end - done))
        return results


def time_variant(
    model: bytes, gpu: Gpu, options: Mapping[str, str], graphs: bool, rounds: int
) -> dict[str, Any]:
    """Time upload, run and download with these options, and compare the results with the CPU's."""
    start = time.perf_counter()
    reference = create_session(model, "cascade", "onnxruntime")
    with mock.patch.dict(onnxruntime_cuda.PROVIDER_OPTIONS, options):
        session = _TimedSession(model, reference, gpu, graphs=graphs)
    shots = sample_frames()
    for number in range(min(rounds, WARM_UP)):
        session.run(image=shots[number % len(shots)])
    loaded = time.perf_counter() - start
    report: dict[str, Any] = {"load_and_warm_up_s": round(loaded, 1)}
    for name, step in (("same frame", 0), ("frames in turn", 1)):
        session.seconds.clear()
        whole = []
        for number in range(rounds):
            image, begin = shots[step * number % len(shots)], time.perf_counter()
            session.run(image=image)
            whole.append(time.perf_counter() - begin)
        columns = [*zip(*session.seconds, strict=True), whole]
        for part, values in zip(("upload", "run", "download", "whole"), columns, strict=True):
            report[f"{name}: {part}"] = percentiles(values)
    found, expected = session.run(image=shots[0]), reference.run(image=shots[0])
    report["differences"] = {
        name: float(np.abs(found[name] - expected[name]).max()) for name in found
    }
    return report


def time_stages(rounds: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Time the detector alone, with the same frame and with frames in turn, and with a tracker."""
    detector, shots = MaskDetector.load(**parameters), sample_frames()
    stream = detector.stream()
    return {
        "detector, same frame": time_calls(lambda _: detector(shots[0]), rounds),
        "detector, frames in turn": time_calls(lambda n: detector(shots[n % len(shots)]), rounds),
        "with tracking": time_calls(lambda n: stream(shots[n % len(shots)], n / 30), rounds),
    }


def time_overlap(rounds: int, parameters: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Time several detectors, each with a thread and a CUDA stream of its own, at the same time."""
    shots, detectors = sample_frames(), []
    for _ in range(number):
        thread = ThreadPoolExecutor(1, "gpu-overlap")
        with mock.patch.object(onnxruntime_cuda, "gpu_thread", return_value=thread):
            detectors.append(MaskDetector.load(**parameters))
    for detector in detectors:
        for shot in shots:
            detector(shot)

    def work(detector: MaskDetector) -> list[float]:
        seconds = []
        for count in range(rounds):
            start = time.perf_counter()
            detector(shots[count % len(shots)])
            seconds.append(time.perf_counter() - start)
        return seconds

    start = time.perf_counter()
    with ThreadPoolExecutor(number) as pool:
        seconds = np.concatenate(list(pool.map(work, detectors)))
    total = time.perf_counter() - start
    p50, p99 = percentiles(seconds)
    return {"calls_per_s": round(len(seconds) / total, 1), "p50_ms": p50, "p99_ms": p99}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time all variants; return the report.

    Raises:
        BackendError: the GPU or ONNX Runtime's CUDA provider does not work.
    """
    require_backend("cuda", arguments.device)
    gpu = find_gpu(arguments.device)

    def report() -> dict[str, Any]:
        return {"gpu": gpu.name, "failed": checks.failed, "variants": checks.results}

    checks = Checks(arguments.seconds, lambda: write_report(report(), arguments.out))
    rounds = arguments.rounds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cascade.onnx"
        common = {"detector_model": DEFAULTS["detector_model"], "classifier_model": OWN_LABELS}
        write_cascade(path, common, half=False)
        model = to_fixed_slots(path.read_bytes(), path.name)
        single = {**common, "backend": "cuda", "device": gpu.number, "detector_model": str(path)}
        first, *others = VARIANTS.items()
        checks.run(first[0], time_variant, model, gpu, *first[1], rounds)
        checks.run("detector", time_stages, rounds, single)
        checks.run("two at a time", time_overlap, rounds, single, 2)
        for name, variant in others:
            checks.run(name, time_variant, model, gpu, *variant, rounds)
        checks.run("three at a time", time_overlap, rounds, single, 3)
    return report()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 if all variants ran, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="gpu_variants", description=__doc__)
    add_options(parser, rounds=400, seconds=60)
    arguments = parser.parse_args(argv)
    return print_report(lambda: run(arguments), arguments.out)


if __name__ == "__main__":
    sys.exit(main())
