"""Turn a trained mask classifier into ONNX: python -m convert_to_trt.keras_to_onnx mask.h5 ...

Reads Keras (.h5, .model, .keras; Keras 1, 2 and 3), SavedModel folders, frozen .pb and .onnx.
Shows the original and the result the same crops and writes nothing where they differ.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from convert_to_trt.environment import change_into
from convert_to_trt.model_files import FROZEN_GRAPH, ONNX, find_kind
from convert_to_trt.settings import PRESETS, read_labels, read_number
from mask_detector_ros.cli.command import Parser, run_command
from mask_detector_ros.errors import ParameterError


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = Parser(
        prog="keras_to_onnx",
        description="Turn a trained mask classifier into the ONNX file that the node runs.",
    )
    parser.add_argument(
        "input", type=Path, metavar="MODEL", help=".h5, .model, .keras, .pb, .onnx, or a folder"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.onnx", help="default: MODEL.onnx")
    parser.add_argument("--labels", metavar="A,B,C", help="names of the outputs, in their order")
    parser.add_argument(
        "--preprocess",
        choices=PRESETS,
        help="what the model was trained with: mobilenet_v2 (x/127.5-1), unit (x/255), none;"
        " all RGB",
    )
    parser.add_argument("--color", choices=("BGR", "RGB"), help="order of the channels")
    parser.add_argument("--scale", type=read_number, help="input = pixel * SCALE + OFFSET")
    parser.add_argument("--offset", type=read_number, help="see --scale")
    parser.add_argument(
        "--margin", type=read_number, help="context around the face box, default 0: the box itself"
    )
    parser.add_argument("--size", type=int, metavar="PX", help="side of the crops, if it is free")
    parser.add_argument(
        "--logits", action="store_true", help="the last layer has no softmax or sigmoid: add it"
    )
    parser.add_argument("--inputs", metavar="NAME", help="input of a frozen .pb")
    parser.add_argument("--outputs", metavar="NAME", help="output of a frozen .pb")
    parser.add_argument("--crops", type=Path, metavar="FOLDER", help="face pictures to compare on")
    parser.add_argument(
        "--trust", action="store_true", help="load a model that carries code of its author"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def check(options: argparse.Namespace) -> str:
    """The kind of the input, after what can be checked without loading it.

    Raises:
        ParameterError: the options contradict each other or the input.
        ModelError: the input is no model.
    """
    options.input = options.input.expanduser()
    kind = find_kind(options.input)
    if options.output is None:
        options.output = options.input.with_suffix(".onnx")
    if options.output.resolve() == options.input.resolve():
        raise ParameterError(f"{options.output} would be overwritten; give another with -o")
    if not options.output.absolute().parent.is_dir() or options.output.is_dir():
        raise ParameterError(f"-o must name a file in a folder that exists, got {options.output}")
    if options.size is not None and options.size < 1:
        raise ParameterError(f"--size must be 1 or more, got {options.size}")
    if kind != FROZEN_GRAPH and (options.inputs or options.outputs):
        raise ParameterError(f"--inputs and --outputs are for a frozen .pb, this is a {kind}")
    if options.labels is not None:
        read_labels(options.labels)
    return kind


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = build_parser().parse_args(arguments)

    def run() -> int:
        kind = check(options)
        needed = ("onnx",) if kind == ONNX else ("tensorflow", "tf2onnx", "h5py")
        if not all(importlib.util.find_spec(name) for name in needed):
            change_into("convert_to_trt.keras_to_onnx", arguments)
        from convert_to_trt.conversion import convert

        report = convert(options, kind)
        print(json.dumps(report.to_record()) if options.json else report.describe())
        return 0

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
