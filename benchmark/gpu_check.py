# SPDX-License-Identifier: Apache-2.0
"""Check results, fault recovery and speed of the GPU on this machine, in four minutes.

    python -m benchmark.gpu_check [--backends cuda tensorrt] [--rounds N] [--out FILE]

Prints one line per check, then JSON; exits with 1 if a check failed. A backend that does not work
here is left out with the reason; if none works, that is a failure. Engines go to a separate cache,
so all are built again.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from benchmark import gpu_faults, gpu_wrapper
from benchmark.gpu_networks import check_faces, check_network, networks, write_cascade
from benchmark.gpu_times import time_cameras, time_network
from mask_detector_ros.cli.command import run_command
from mask_detector_ros.errors import BackendError, MaskDetectorError
from mask_detector_ros.inference import GPU_BACKENDS, EngineOptions, create_session
from mask_detector_ros.inference.gpu_choice import obstacle
from mask_detector_ros.inference.gpus import Gpu, driver_cuda_version, find_gpu
from mask_detector_ros.models import OWN_LABELS, find_detector
from mask_detector_ros.parameters import DETECTOR_PARAMETERS
from mask_detector_ros.speed.machine import describe_machine
from mask_detector_ros.speed.throughput import time_detector

DEFAULTS = {parameter.name: parameter.default for parameter in DETECTOR_PARAMETERS}


class Checks:
    """Runs GPU checks, records their results, and continues after failures.

    Args:
        seconds: time after which no further check begins.
        record: called after each check, so that a run that is cut off leaves its results.
    """

    def __init__(self, seconds: float = 240.0, record: Callable[[], object] = lambda: None) -> None:
        self.results: list[dict[str, Any]] = []
        self._end = time.monotonic() + seconds
        self._record = record

    def run(self, name: str, check: Callable[..., Any], *arguments: Any) -> None:
        """Run one GPU check; any exception is a failure, since CUDA libraries share no error
        type."""
        start = time.perf_counter()
        result: dict[str, Any] = {"check": name}
        if time.monotonic() > self._end:
            result |= {"passed": None, "left_out": "out of time"}
        else:
            try:
                result |= {"passed": True, "result": check(*arguments)}
            except Exception as error:
                text = " ".join(f"{type(error).__name__}: {error}".split())
                result |= {"passed": False, "error": text}
                if not isinstance(error, MaskDetectorError | AssertionError):
                    traceback.print_exc()
        result["seconds"] = round(time.perf_counter() - start, 2)
        self.results.append(result)
        word = {True: "ok      ", False: "FAILED  ", None: "left out"}[result["passed"]]
        line = f"{word} {name} ({result['seconds']:.1f} s): {_summary(result)}"
        print(line, file=sys.stderr, flush=True)
        self._record()

    def leave_out(self, name: str, reason: str) -> None:
        """Record a GPU check that cannot run here, with the reason."""
        self.results.append({"check": name, "passed": None, "left_out": reason, "seconds": 0.0})
        print(f"left out {name}: {reason}", file=sys.stderr, flush=True)

    @property
    def failed(self) -> list[str]:
        """The names of the GPU checks that failed."""
        return [result["check"] for result in self.results if result["passed"] is False]


def _summary(result: dict[str, Any]) -> str:
    values = result.get("result")
    if not isinstance(values, dict):
        return str(result.get("error") or result.get("left_out") or "")
    parts = (
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
    return ", ".join(parts)[:300]


@contextmanager
def log_lines() -> Iterator[list[str]]:
    """Context that collects the library's log lines during a GPU check."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    library = logging.getLogger("mask_detector_ros")
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        library.removeHandler(handler)


def check_spoilt_engines(folder: str) -> dict[str, str]:
    """GPU check: damage a stored engine in several ways; each must be detected and rebuilt."""
    stages, engines = find_detector(DEFAULTS["detector_model"]), {}
    for name in ("proposal", "decision"):
        own = Path(folder) / f"spoilt-{name}"
        options = EngineOptions(precision="fp32", engine_cache_dir=str(own))
        create_session(stages[name], name, "tensorrt", options=options)
        (engines[name],) = own.glob("*.engine")
    model, path = stages["decision"], engines["decision"]
    good = path.read_bytes()
    magic, header, plan = good.split(b"\n", 2)
    ways = {
        "rubbish": b"rubbish" * 100,
        "cut off": good[: len(good) // 2],
        "one byte changed": good[:-1] + bytes([good[-1] ^ 1]),
        "of another GPU": b"\n".join([magic, header.replace(b'"gpu": "', b'"gpu": "no '), plan]),
        "of another network": engines["proposal"].read_bytes(),
    }
    reasons = {}
    for way, content in ways.items():
        path.write_bytes(content)
        with log_lines() as lines:
            create_session(model, "decision", "tensorrt", options=options)
        told = [line for line in lines if line.startswith("building the engine")]
        assert len(told) == 1, f"an engine that is {way} was not rebuilt"
        reasons[way] = told[0]
    return reasons


def check_wrapper(checks: Checks, device: int) -> None:
    """GPU check of our CUDA code, which uses pycuda; see `gpu_wrapper`."""
    try:
        import pycuda.driver  # noqa: F401
    except ImportError as error:
        checks.leave_out("CUDA wrapper", f"pycuda cannot be imported ({error})")
        return
    for name, check in (
        ("buffers", gpu_wrapper.check_buffers),
        ("graph", gpu_wrapper.check_graph),
        ("memory", gpu_wrapper.check_memory),
        ("threads", gpu_wrapper.check_threads),
    ):
        checks.run(f"CUDA wrapper: {name}", check, device)


def detector_parameters(arguments: argparse.Namespace, backend: str) -> dict[str, Any]:
    """Parameters of the detector to check, on a backend."""
    parameters = {"backend": backend, "detector_model": arguments.detector_model}
    if arguments.detection_thresholds:
        parameters["detection_thresholds"] = tuple(arguments.detection_thresholds)
    return {**parameters, "classifier_model": OWN_LABELS}


def check_backend(checks: Checks, backend: str, arguments: argparse.Namespace, folder: str) -> None:
    """Run all GPU checks of one backend that works here, the most important first."""
    precisions = arguments.precision if backend == "tensorrt" else ["fp32"]
    for precision in precisions:
        name = f"{backend} {precision}" if backend == "tensorrt" else backend
        options = EngineOptions(precision, folder, arguments.device)
        common = detector_parameters(arguments, backend)
        common |= {"precision": precision, "engine_cache_dir": folder, "device": arguments.device}
        # The file fixes the types, and fp32 keeps them.
        path = Path(folder) / f"cascade-{precision}.onnx"
        write_cascade(path, common, precision == "fp16")
        single = {**common, "detector_model": str(path), "precision": "fp32"}
        kinds, rounds = (("in one graph", single), ("step by step", common)), arguments.rounds
        for kind, parameters in kinds:
            checks.run(f"{name}: faces, {kind}", check_faces, parameters)
            checks.run(f"{name}: one camera, {kind}", time_detector, rounds, parameters)
        for kind, parameters in kinds:
            checks.run(f"{name}: eight cameras, {kind}", time_cameras, rounds, parameters)
        for network, model in networks(arguments.detector_model).items():
            about = (model, network, backend, options)
            checks.run(f"{name}: {network}", check_network, *about)
        checks.run(f"{name}: missing device", gpu_faults.check_missing_device, common)
        checks.run(f"{name}: full memory", gpu_faults.check_full_memory, common)
        checks.run(
            f"{name}: two processes", gpu_faults.check_two_processes, rounds // 2 or 1, common
        )
        for network, model in networks(arguments.detector_model).items():
            about = (model, network, backend, options)
            checks.run(f"{name}: time of {network}", time_network, *about, rounds // 5 or 1)
    if backend == "tensorrt":
        checks.run("tensorrt: spoilt engines", check_spoilt_engines, folder)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all GPU checks of this machine; return the report.

    Raises:
        BackendError: there is no such GPU, or no driver.
    """
    gpu = find_gpu(arguments.device)
    major, minor = driver_cuda_version()
    about = {
        "machine": describe_machine(),
        "gpu": {"name": gpu.name, "capability": gpu.capability, "driver_cuda": f"{major}.{minor}"},
        "detector_model": Path(arguments.detector_model).name,
    }

    def report() -> dict[str, Any]:
        return {**about, "failed": checks.failed, "checks": checks.results}

    checks = Checks(arguments.seconds, lambda: write_report(report(), arguments.out))
    check_wrapper(checks, gpu.number)
    with tempfile.TemporaryDirectory() as folder:
        working = []
        for backend in arguments.backends:
            reason = obstacle(backend, gpu)
            if reason:
                checks.leave_out(backend, reason)
            else:
                working.append(backend)
                check_backend(checks, backend, arguments, folder)
        parameters = detector_parameters(arguments, "onnxruntime")
        if working:
            cached = {**parameters, "engine_cache_dir": folder, "device": arguments.device}
            checks.run("auto", gpu_faults.check_auto, cached)
        else:
            checks.run("backends", _no_backend, gpu)
        checks.run("CPU: one camera", time_detector, arguments.rounds // 20 or 1, parameters)
    return report()


def _no_backend(gpu: Gpu) -> NoReturn:
    raise BackendError(
        f"no backend works on {gpu.name}, for the reasons above; install one (docs/how-to/gpus.md)"
    )


def write_report(report: dict[str, Any], path: Path | None) -> str:
    """Format the report as JSON, and write it to a file if one is given."""
    text = json.dumps(report, indent=1)
    if path:
        path.write_text(text + "\n", encoding="utf-8")
    return text


def add_options(parser: argparse.ArgumentParser, rounds: int, seconds: float) -> None:
    """Add the options of all commands that time a GPU, with these defaults."""
    parser.add_argument("--device", type=int, default=0, help="index of the GPU")
    parser.add_argument("--rounds", type=int, default=rounds, help="number of frames per timing")
    parser.add_argument(
        "--seconds", type=float, default=seconds, help="seconds after which no further part begins"
    )
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")


def print_report(run: Callable[[], dict[str, Any]], path: Path | None) -> int:
    """Run the checks of a command, print its report and return its exit code."""

    def work() -> int:
        report = run()
        print(write_report(report, path))
        return 1 if report["failed"] else 0

    return run_command(work)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 if all checks passed, 1 if one failed or none
    ran."""
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument("--backends", nargs="+", choices=GPU_BACKENDS, default=list(GPU_BACKENDS))
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=("fp32", "fp16"),
        default=["fp32"],
        help="precision of TensorRT engines",
    )
    parser.add_argument("--detector-model", default=DEFAULTS["detector_model"])
    parser.add_argument(
        "--detection-thresholds", nargs=3, type=float, help="detection thresholds of the detector"
    )
    add_options(parser, rounds=2000, seconds=240)
    arguments = parser.parse_args(argv)
    return print_report(lambda: run(arguments), arguments.out)


if __name__ == "__main__":
    sys.exit(main())
