# SPDX-License-Identifier: Apache-2.0
"""Measure build time and size of TensorRT-RTX engines, without a GPU.

    make engine-builds ARGS="[--targets SM75 SM86] [--limit SECONDS] [--out FILE]"

It builds the networks of both cascades and each single-file cascade, in fp32 and with the
classifier in fp16. Results already in the output file for the same models are not rebuilt.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.reporting import table, table_row
from convert_to_trt.cascade_settings import TWO_STAGE_SLOTS, GraphSettings
from convert_to_trt.converter_environments import (
    REPOSITORY,
    TENSORRT_ENVIRONMENT,
    TENSORRT_REQUIREMENTS,
    clean_variables,
    is_ready,
)
from convert_to_trt.three_stage_graph import compose_cascade
from convert_to_trt.two_stage_graph import compose_two_stage
from mask_detector_ros.cli.command import Parser, run_command
from mask_detector_ros.errors import BackendError
from mask_detector_ros.models import find_classifier, find_detector

TARGETS = ("SM75", "SM86")
IMAGES = ((640, 480), (1280, 720))
PRECISIONS = ("fp32", "fp16")


def run_there(
    arguments: Sequence[str | Path], limit: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python in the TensorRT-RTX environment; on a timeout the engine builder that it starts
    ends too.

    Raises:
        subprocess.TimeoutExpired: it took longer than `limit` seconds.
    """
    return subprocess.run(
        [str(TENSORRT_ENVIRONMENT / "bin" / "python"), *map(str, arguments)],
        env={**clean_variables(), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


def build(
    model: Path, plan: Path, precision: str, target: str, limit: float | None = None
) -> dict[str, Any]:
    """Build one engine with `convert_to_trt.onnx_to_engine`; return its report.

    Raises:
        BackendError: it could not be built; the message gives the reason.
    """
    options = ("--build-only", "-o", plan, "--json", "--precision", precision, "--target", target)
    try:
        done = run_there(["-m", "convert_to_trt.onnx_to_engine", model, *options], limit)
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"not built in {limit:g} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise BackendError(lines[-1] if lines else done.stderr.strip()[-200:])
    (report,) = json.loads(done.stdout)
    return dict(report)


def jobs(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Write each network to build an engine of to a file; return name, file and precision of each
    build."""
    three, classifier = find_detector("mtcnn_masked"), find_classifier("mask_classifier")
    two = find_detector("mtcnn_two_stage")
    for name, content in {**two, **three, "classifier": classifier}.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(content)
        # Networks that place faces are always built in fp32.
        for precision in PRECISIONS if name == "classifier" else ("fp32",):
            yield name, path, precision
    for width, height in IMAGES:
        settings = GraphSettings(width, height)
        few_crops = replace(settings, decide_slots=TWO_STAGE_SLOTS)
        graphs = {"two stages": compose_two_stage(two, few_crops)}
        for precision in PRECISIONS:
            half = replace(settings, half=precision == "fp16")
            name = f"three stages, {precision} classifier"
            graphs[name] = compose_cascade(three, classifier, half)
        for name, whole in graphs.items():
            path = folder / "cascade.onnx"
            path.write_bytes(whole.SerializeToString())
            # The file fixes the types, and fp32 keeps them.
            yield f"whole cascade {width}x{height}, {name}", path, "fp32"


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the engine builds whose results are not in the file yet, writing each result at once."""
    out: Path = options.out
    rows: list[dict[str, Any]] = json.loads(out.read_text()) if out.is_file() else []
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, model, precision in jobs(Path(folder)):
            for target in options.targets:
                digest = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
                row = {"model": name, "sha256": digest, "in": precision, "for": target}
                if any(row.items() <= known.items() for known in rows):
                    continue
                start = time.monotonic()
                try:
                    report = build(model, Path(folder) / "plan", precision, target, options.limit)
                    row |= {"MB": round(report["bytes"] / 1e6, 1), "s": report["seconds"]}
                except BackendError as error:
                    row |= {"error": str(error), "s": round(time.monotonic() - start, 1)}
                rows.append(row)
                print(table_row(*describe(row)), file=sys.stderr, flush=True)
                out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


def describe(row: dict[str, Any]) -> tuple[object, ...]:
    """The cells of one engine build in the table of engine builds."""
    return row["model"], row["in"], row["for"], row.get("error", row.get("MB")), row["s"]


def build_parser() -> argparse.ArgumentParser:
    """Make the argument parser of `benchmark.engine_builds`."""
    parser = Parser(prog="engine_builds", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--targets", nargs="+", default=TARGETS, metavar="SM86")
    parser.add_argument(
        "--limit", type=float, default=300.0, metavar="S", help="seconds allowed per build"
    )
    parser.add_argument("--out", type=Path, default=Path("out/engine_builds.json"), metavar="FILE")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = build_parser().parse_args(argv)

    def run() -> int:
        if not is_ready(TENSORRT_ENVIRONMENT, TENSORRT_REQUIREMENTS):
            raise BackendError("TensorRT-RTX is not installed; do: make tensorrt-env")
        print(table(("model", "in", "for", "MB", "s"), map(describe, measure(options))))
        return 0

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
