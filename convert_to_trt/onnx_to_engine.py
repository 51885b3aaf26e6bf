# SPDX-License-Identifier: Apache-2.0
"""Build TensorRT engines ahead of time: python -m convert_to_trt.onnx_to_engine [MODEL.onnx ...]

The engines go into the node's cache, so that it starts at once. Without a model it builds what the
node would: the detector's networks and the classifier.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mask_detector_ros.cli.command import Parser, run_command
from mask_detector_ros.cli.options import add_options, detector_parameters, option_values
from mask_detector_ros.errors import BackendError, ModelError, ParameterError
from mask_detector_ros.inference import EngineOptions, create_session
from mask_detector_ros.inference.gpu_choice import require_backend
from mask_detector_ros.inference.gpus import find_gpu
from mask_detector_ros.inference.options import WORKSPACE_MB
from mask_detector_ros.inference.tensorrt.api import TensorRt
from mask_detector_ros.inference.tensorrt.builder import BuildRequest, build_in_process
from mask_detector_ros.inference.tensorrt.precision import precision_of
from mask_detector_ros.inference.tensorrt.profile import make_profile
from mask_detector_ros.models import find_networks
from mask_detector_ros.output_file import write_output

PARAMETERS = detector_parameters("detector_model", "classifier_model", "engine_cache_dir", "device")


def build_parser() -> argparse.ArgumentParser:
    """Make the argument parser of `convert_to_trt.onnx_to_engine`."""
    parser = Parser(
        prog="onnx_to_engine", description="Build TensorRT engines ahead of time, and check them."
    )
    parser.add_argument(
        "models",
        type=Path,
        nargs="*",
        metavar="MODEL.onnx",
        help="ONNX files; default: the models that the node runs",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "fp16", "int8"),
        default="auto",
        help="int8 first writes MODEL.int8.onnx, with scales from --crops",
    )
    parser.add_argument(
        "--crops",
        type=Path,
        metavar="FOLDER",
        help="face crops that int8 is calibrated and measured on",
    )
    parser.add_argument(
        "--workspace",
        type=int,
        default=WORKSPACE_MB,
        metavar="MB",
        help="scratch memory of the build",
    )
    parser.add_argument(
        "--build-only",
        action="store_true",
        help="write the bare plan to -o and check nothing; needs no GPU with --target",
    )
    parser.add_argument(
        "--target",
        default="",
        metavar="SM86",
        help="with --build-only and TensorRT-RTX: GPU architecture to build for",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PLAN", help="output file of --build-only"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_options(parser, "as the node", PARAMETERS)
    return parser


def check(options: argparse.Namespace) -> None:
    """Reject contradictory options of `onnx_to_engine`.

    Raises:
        ParameterError: options contradict each other.
    """
    if options.build_only != bool(options.output):
        raise ParameterError("--build-only and -o PLAN must be given together")
    if options.build_only and len(options.models) != 1:
        raise ParameterError("--build-only takes one MODEL.onnx")
    if options.target and not options.build_only:
        raise ParameterError(
            "--target needs --build-only: an engine for another GPU cannot run here"
        )
    if (options.precision == "int8") != (options.crops is not None):
        raise ParameterError("--precision int8 and --crops FOLDER must be given together")
    if options.precision == "int8" and len(options.models) != 1:
        raise ParameterError("int8 is for one mask classifier: give its MODEL.onnx")
    if options.workspace < 1:
        raise ParameterError("--workspace must be 1 or more")
    # From here on the node's parameters have values too.
    vars(options).update(option_values(options, PARAMETERS))


def read_models(options: argparse.Namespace) -> dict[str, bytes]:
    """Read the ONNX models to build engines from: the given ones, or those that the node runs with
    these parameters.

    Raises:
        ModelError: one cannot be read.
    """
    if options.models:
        return {str(path): _read(path) for path in options.models}
    return find_networks(options.detector_model, options.classifier_model)


def _read(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror}); give an ONNX file") from error


def convert(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Build an engine from each ONNX model; return a report for each.

    Raises:
        MaskDetectorError: an engine cannot be built, or its results differ.
    """
    models = read_models(options)
    reports: list[dict[str, Any]] = []
    if options.precision == "int8":
        # The first import says what to install if the package onnx is missing.
        from mask_detector_ros.inference.tensorrt import typed_onnx  # noqa: F401, I001
        from convert_to_trt.quantise import quantise

        ((name, model),) = models.items()
        content, cost = quantise(model, name, options.crops.expanduser())
        target = Path(name).with_suffix(".int8.onnx")
        write_output(target, content)
        models = {str(target): content}
        reports.append({"model": str(target), "int8": cost.to_record(), "text": cost.describe()})
        try:
            require_backend("tensorrt", options.device)
        except BackendError as error:
            reports[-1]["text"] += f"\nwritten: {target}; no engine was built: {error}"
            return reports
    for name, model in models.items():
        start = time.monotonic()
        build = _build_only if options.build_only else _build_and_check
        report = {"model": name, **build(options, name, model)}
        report["seconds"] = round(time.monotonic() - start, 1)
        reports.append(report)
    return reports


def _precision(options: argparse.Namespace) -> str:
    # Layers that are not quantised compute in fp16.
    return "fp16" if options.precision == "int8" else str(options.precision)


def _build_and_check(options: argparse.Namespace, name: str, model: bytes) -> dict[str, Any]:
    with tqdm(desc=f"building {name}", bar_format="{desc} [{elapsed}]", leave=False) as bar:
        session = create_session(
            model,
            name,
            "tensorrt",
            options=EngineOptions(
                precision=_precision(options),
                engine_cache_dir=options.engine_cache_dir,
                device=options.device,
                workspace_mb=options.workspace,
                progress=bar.set_description_str,
            ),
        )
    return {"device": session.device, "text": f"{name}: ready on {session.device}"}


def _build_only(options: argparse.Namespace, name: str, model: bytes) -> dict[str, Any]:
    target = options.target or find_gpu(options.device).name
    reference = create_session(model, name, "onnxruntime")
    precision = precision_of((output.name for output in reference.outputs), _precision(options))
    request = BuildRequest(
        name,
        half=precision in ("auto", "fp16"),
        profile=make_profile(reference.inputs),
        workspace_mb=options.workspace,
        device=options.device,
        target=options.target,
    )
    with tqdm(total=1.0, desc=f"building {name}", bar_format="{l_bar}{bar} [{elapsed}]") as bar:
        plan = build_in_process(request, model, lambda share: bar.update((share or bar.n) - bar.n))
    write_output(options.output, plan)
    kind = "fp16" if request.half else "fp32"
    text = f"{options.output}: {len(plan) / 1e6:.1f} MB, {kind}, for {target}; not compared"
    return {"output": str(options.output), "bytes": len(plan), "text": text}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    options = build_parser().parse_args(argv)

    def run() -> int:
        check(options)
        # Check TensorRT and the GPU before any long work.
        if options.build_only:
            TensorRt()
        elif options.precision != "int8":
            require_backend("tensorrt", options.device)
        reports = convert(options)
        if options.json:
            print(json.dumps([{k: v for k, v in r.items() if k != "text"} for r in reports]))
        else:
            print("\n".join(report["text"] for report in reports))
        return 0

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
