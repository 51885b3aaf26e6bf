"""Is TensorRT right and fast on this machine? Builds, compares, breaks and times engines.

    python -m benchmark.gpu_check [--precision fp32 fp16] [--rounds N] [--out FILE]

Prints JSON; exits with 1 where a check failed. It uses a cache of its own, so that everything
is built anew, and touches no other.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.gpu_times import networks, time_calls, time_detector, time_networks
from mask_detector_ros.cli.command import run_command
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.evaluation.agreement import BOX_LIMIT, PROBABILITY_LIMIT, Agreement
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference import EngineOptions, create_session
from mask_detector_ros.inference.base import Session
from mask_detector_ros.inference.tensorrt.api import TensorRt
from mask_detector_ros.inference.tensorrt.cuda import find_gpu
from mask_detector_ros.inference.tensorrt.parity import check_parity
from mask_detector_ros.models import find_classifier, find_detector
from mask_detector_ros.sources.sample_scene import SampleScene
from mask_detector_ros.speed.machine import describe_machine

BATCHES = (1, 2, 3, 4, 5, 8, 15, 16, 17, 32, 64, 100, 128)


class Checks:
    """Runs checks, notes how each ended, and goes on after a failure."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []

    def run(self, name: str, check: Callable[[], Any]) -> None:
        """Run one; an `AssertionError` or an error of the package is its failure."""
        start = time.perf_counter()
        result: dict[str, Any] = {"check": name}
        try:
            result |= {"passed": True, "result": check()}
        except (MaskDetectorError, AssertionError) as error:
            result |= {"passed": False, "error": " ".join(str(error).split())}
        result["seconds"] = round(time.perf_counter() - start, 2)
        print(f"{'ok    ' if result['passed'] else 'FAILED'} {name}", file=sys.stderr, flush=True)
        self.results.append(result)

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return [result["check"] for result in self.results if not result["passed"]]


def shapes_to_try(session: Session) -> list[dict[str, tuple[int, ...]]]:
    """Every batch size, or for P-Net the levels of some images."""
    (tensor,) = session.inputs
    if -1 in tensor.shape[1:]:
        sides = ((12, 12), (97, 131), (144, 640), (144, 640), (175, 768), (256, 512), (12, 2560))
        return [{tensor.name: (1, 3, *side)} for side in sides]
    return [{tensor.name: (batch, *tensor.shape[1:])} for batch in (*BATCHES, *reversed(BATCHES))]


def check_network(model: bytes, name: str, precision: str, folder: str) -> dict[str, Any]:
    """Build one network and compare it at every batch size, up and down again."""
    options = EngineOptions(precision=precision, engine_cache_dir=folder)
    start = time.perf_counter()
    session = create_session(model, name, "tensorrt", options=options)
    seconds = time.perf_counter() - start
    reference = create_session(model, name, "onnxruntime")
    shapes = shapes_to_try(reference)
    largest = check_parity(session, reference, shapes, precision)
    return {"device": session.device, "build_s": round(seconds, 1), "largest_difference": largest}


def sequence(scene: SampleScene) -> Iterator[NDArray[np.uint8]]:
    """One face, many, none, many: the order in which MTCNN on TensorRT has lost its faces."""
    many, faces = scene.render(0)
    x1, y1, x2, y2 = faces.boxes[0].astype(int)
    one = np.zeros_like(many)
    margin = (x2 - x1) // 2
    area = np.s_[max(y1 - margin, 0) : y2 + margin, max(x1 - margin, 0) : x2 + margin]
    one[area] = many[area]
    yield from (one, many, np.zeros_like(many), many, one, scene.render(40)[0])


def check_faces(precision: str, folder: str) -> dict[str, Any]:
    """The whole detector against ONNX Runtime, over the sequence above, twice."""
    on_gpu = MaskDetector.load(backend="tensorrt", precision=precision, engine_cache_dir=folder)
    on_cpu = MaskDetector.load(backend="onnxruntime")
    pictures = list(sequence(SampleScene(640, 480)))
    pairs = [(on_cpu(picture), on_gpu(picture)) for picture in pictures + pictures]
    return {"faces": [len(found) for _, found in pairs], **_require_same_faces(pairs)}


def _require_same_faces(pairs: Iterable[tuple[Faces, Faces]]) -> dict[str, float]:
    agreement = Agreement.of(pairs)
    box = float(agreement.boxes.max(initial=0))
    probability = float(agreement.probabilities.max(initial=0))
    assert not agreement.missing, f"{agreement.missing} faces are missing"
    assert not agreement.extra, f"{agreement.extra} faces are no faces on the CPU"
    assert box <= BOX_LIMIT, f"boxes differ by {box:.2f} px"
    assert probability <= PROBABILITY_LIMIT, f"probabilities differ by {probability:.3f}"
    return {"box_px": box, "probability": probability}


@contextmanager
def log_lines() -> Iterator[list[str]]:
    """What the library logs meanwhile."""
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
    """Spoil a stored engine in several ways: each must be found out and rebuilt."""
    stages, engines = find_detector("mtcnn_masked"), {}
    for name in ("onet", "rnet"):
        own = Path(folder) / f"spoilt-{name}"
        options = EngineOptions(precision="fp32", engine_cache_dir=str(own))
        create_session(stages[name], name, "tensorrt", options=options)
        (engines[name],) = own.glob("*.engine")
    model, path = stages["rnet"], engines["rnet"]
    good = path.read_bytes()
    magic, header, plan = good.split(b"\n", 2)
    ways = {
        "rubbish": b"rubbish" * 100,
        "cut off": good[: len(good) // 2],
        "one byte changed": good[:-1] + bytes([good[-1] ^ 1]),
        "of another GPU": b"\n".join([magic, header.replace(b'"gpu": "', b'"gpu": "no '), plan]),
        "of another network": engines["onet"].read_bytes(),
    }
    reasons = {}
    for way, content in ways.items():
        path.write_bytes(content)
        with log_lines() as lines:
            create_session(model, "rnet", "tensorrt", options=options)
        told = [line for line in lines if line.startswith("building the engine")]
        assert len(told) == 1, f"an engine that is {way} was not rebuilt"
        reasons[way] = told[0]
    return reasons


def check_cascade_graph(precision: str, folder: str, rounds: int) -> dict[str, Any]:
    """The whole cascade as one engine: as right as it is in ONNX Runtime, and how fast."""
    # The first says what to install where the package onnx is missing.
    from mask_detector_ros.inference.tensorrt import typed_onnx  # noqa: F401, I001
    from convert_to_trt.cascade_graph import compose_cascade
    from convert_to_trt.cascade_settings import GraphSettings

    settings = GraphSettings(640, 480, half=precision == "fp16")
    classifier = find_classifier("mask_classifier")
    model = compose_cascade(find_detector("mtcnn_masked"), classifier, settings)
    path = Path(folder) / "cascade.onnx"
    path.write_bytes(model.SerializeToString())
    # The file has its types already: fp32 leaves them as they are.
    common = {"detector_model": str(path), "engine_cache_dir": folder, "precision": "fp32"}
    on_gpu = MaskDetector.load(backend="tensorrt", **common)
    on_cpu = MaskDetector.load(backend="onnxruntime", **common)
    _require_same_faces((on_cpu(p), on_gpu(p)) for p in sequence(SampleScene(640, 480)))
    picture, _ = SampleScene(640, 480).render(0)
    return time_calls(lambda: on_gpu(picture), rounds)


def run(precisions: Sequence[str], rounds: int) -> dict[str, Any]:
    """All checks; the report.

    Raises:
        BackendError: TensorRT, pycuda or the GPU is not there.
    """
    api, gpu = TensorRt(), find_gpu(0)
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        for precision in precisions:
            for name, model in networks().items():
                checks.run(
                    f"{name} in {precision}",
                    lambda m=model, n=name, p=precision: check_network(m, n, p, folder),
                )
            checks.run(f"faces in {precision}", lambda p=precision: check_faces(p, folder))
        checks.run("spoilt engines", lambda: check_spoilt_engines(folder))
        for precision in precisions:
            common = {"precision": precision, "engine_cache_dir": folder, "backend": "tensorrt"}
            checks.run(
                f"time of the detector in {precision}",
                lambda c=common: time_detector(rounds, **c),
            )
            checks.run(
                f"time of the networks in {precision}",
                lambda p=precision: time_networks(p, folder, rounds),
            )
            checks.run(
                f"whole cascade in {precision}",
                lambda p=precision: check_cascade_graph(p, folder, rounds),
            )
        checks.run("time on the CPU", lambda: time_detector(rounds, backend="onnxruntime"))
    return {
        "machine": describe_machine(),
        "gpu": {"name": gpu.name, "capability": gpu.capability},
        "tensorrt": str(api),
        "failed": checks.failed,
        "checks": checks.results,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 all passed, 1 not all, or nothing to check."""
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument(
        "--precision", nargs="+", choices=("fp32", "fp16"), default=["fp32", "fp16"]
    )
    parser.add_argument("--rounds", type=int, default=200, help="calls of each timing")
    parser.add_argument("--out", type=Path, help="write the JSON there too")
    options = parser.parse_args(argv)

    def work() -> int:
        report = run(options.precision, options.rounds)
        text = json.dumps(report, indent=1)
        if options.out:
            options.out.write_text(text + "\n", encoding="utf-8")
        print(text)
        return 1 if report["failed"] else 0

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
