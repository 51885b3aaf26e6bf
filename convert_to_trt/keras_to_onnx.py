# SPDX-License-Identifier: Apache-2.0
"""Convert a trained mask classifier to ONNX: python -m convert_to_trt.keras_to_onnx mask.h5 ...

Reads Keras (.h5, .model, .keras, .json; Keras 1, 2 and 3), TensorFlow Lite, TensorFlow.js,
SavedModel folders, frozen .pb, .onnx, and zips of them such as Teachable Machine's. It compares
original and result on the same crops and writes nothing if they differ. It warns if another label
order, colour order or range fits the model clearly better than the given one.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from convert_to_trt.classifier_settings import (
    AUTO,
    GIVEN,
    PRESETS,
    read_channels,
    read_number,
    settle,
)
from convert_to_trt.converter_environments import change_into
from convert_to_trt.label_settings import read_labels
from convert_to_trt.model_bundles import open_bundle
from convert_to_trt.model_files import FROZEN_GRAPH, ONNX, TFJS_GRAPH
from convert_to_trt.process_limits import MEMORY_LIMIT_GB, TIME_LIMIT, limit_process
from mask_detector_ros.cli.command import Parser, run_command
from mask_detector_ros.errors import ParameterError


def build_parser() -> argparse.ArgumentParser:
    """Make the argument parser of `convert_to_trt.keras_to_onnx`."""
    parser = Parser(
        prog="keras_to_onnx",
        description="Convert a trained mask classifier to the ONNX file that the node runs.",
    )
    parser.add_argument(
        "input",
        type=Path,
        metavar="MODEL",
        help=".h5, .model, .keras, .json, .tflite, .pb, .onnx, a zip of one, or a folder",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT.onnx", help="output file, default MODEL.onnx"
    )
    parser.add_argument(
        "--labels",
        metavar="A,B,C",
        help="names of the outputs in order, or a file with one name per line; default: "
        "labels.txt beside the model",
    )
    parser.add_argument(
        "--roles",
        metavar="R,R,R",
        help="role of each label: with_mask, without_mask, mask_worn_incorrectly, or - for none; "
        "default: derived from the names",
    )
    parser.add_argument(
        "--settings",
        choices=(GIVEN, AUTO),
        default=GIVEN,
        help="auto: find settings that are not given by comparing with the shipped classifier",
    )
    parser.add_argument(
        "--preprocess",
        choices=PRESETS,
        help="preprocessing in training: mobilenet_v2 (x/127.5-1), unit (x/255), none, imagenet "
        "(torchvision's), all RGB; caffe (Keras's VGG and ResNet50), BGR",
    )
    parser.add_argument("--color", choices=("BGR", "RGB"), help="colour order of the input")
    parser.add_argument("--scale", type=read_number, help="input = pixel * SCALE + OFFSET")
    parser.add_argument("--offset", type=read_number, help="see --scale")
    parser.add_argument(
        "--mean",
        type=read_channels,
        metavar="M[,M,M]",
        help="per channel: input = (pixel - MEAN) / STD, with pixels from 0 to 1 if no STD is "
        "above 1",
    )
    parser.add_argument("--std", type=read_channels, metavar="S[,S,S]", help="see --mean")
    parser.add_argument(
        "--margin", type=read_number, help="context around the face box, default 0: the box itself"
    )
    parser.add_argument(
        "--size", type=int, metavar="PX", help="side of the crops, if the model leaves it open"
    )
    parser.add_argument(
        "--logits", action="store_true", help="add the softmax or sigmoid that the last layer lacks"
    )
    parser.add_argument("--inputs", metavar="NAME", help="input of a frozen .pb")
    parser.add_argument("--outputs", metavar="NAME", help="output, if there are several")
    parser.add_argument(
        "--crops",
        type=Path,
        metavar="FOLDER",
        help="face crops to compare on, or one subfolder per label; default: rendered faces",
    )
    parser.add_argument(
        "--trust", action="store_true", help="load a model that carries code from its author"
    )
    parser.add_argument(
        "--memory-limit",
        type=read_number,
        default=MEMORY_LIMIT_GB,
        metavar="GB",
        help="memory limit of the conversion, default %(default)g",
    )
    parser.add_argument(
        "--time-limit",
        type=read_number,
        default=TIME_LIMIT,
        metavar="S",
        help="time limit of the conversion, default %(default)g",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def check(options: argparse.Namespace) -> tuple[str, ...]:
    """Check the options of `keras_to_onnx` before loading the model; return the packages that the
    conversion needs.

    Raises:
        ParameterError: the options contradict each other or the input.
        ModelError: the input is not a model.
    """
    options.input = options.input.expanduser()
    if options.output is None:
        options.output = options.input.with_suffix(".onnx")
    if options.output.resolve() == options.input.resolve():
        raise ParameterError(f"{options.output} would be overwritten; give another with -o")
    if not options.output.absolute().parent.is_dir() or options.output.is_dir():
        raise ParameterError(f"-o must name a file in a folder that exists, got {options.output}")
    if options.size is not None and options.size < 1:
        raise ParameterError(f"--size must be 1 or more, got {options.size}")
    if options.crops is not None and not options.crops.expanduser().is_dir():
        raise ParameterError(f"--crops must be a folder of face crops, got {options.crops}")
    with open_bundle(options.input) as bundle:
        if bundle.kind not in (FROZEN_GRAPH, TFJS_GRAPH) and options.inputs:
            raise ParameterError(f"--inputs applies to a frozen .pb; this is a {bundle.kind}")
        if bundle.kind != ONNX and options.settings != AUTO:
            # Before the long work, check everything that does not need the model's content. A
            # network that scales its input, or takes integers, needs no preprocessing.
            settle(options, {"scale": "1", "offset": "0", "color": "RGB", **bundle.metadata})
        elif options.labels is not None:
            read_labels(options.labels)
    return ("onnx",) if bundle.kind == ONNX else ("tensorflow", "tf2onnx", "h5py")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = build_parser().parse_args(arguments)

    def run() -> int:
        needed = check(options)
        if not all(importlib.util.find_spec(name) for name in needed):
            change_into("convert_to_trt.keras_to_onnx", arguments)
        from convert_to_trt.conversion import convert

        report = convert(options)
        print(json.dumps(report.to_record()) if options.json else report.describe(), flush=True)
        if report.warning:
            print(f"warning: {report.warning}", file=sys.stderr)
        return 0

    return run_command(run)


def _main_with_limits() -> int:
    # The limits last for the life of the process, so do not set them if another program calls
    # `main`.
    options, _ = build_parser().parse_known_args()
    limit_process(options.memory_limit, options.time_limit)
    return main()


if __name__ == "__main__":
    sys.exit(_main_with_limits())
