# SPDX-License-Identifier: Apache-2.0
"""`mask-detector export`: write the detector for another inference server."""

import argparse
from pathlib import Path
from typing import Any

from mask_detector_ros.cli.options import add_options, detector_parameters, option_values
from mask_detector_ros.cli.serve import LOAD_PARAMETERS, MIN_INSTANCES
from mask_detector_ros.parameters import LOCAL_PARAMETERS

FIXED = detector_parameters(
    *("detector_model", "classifier_model", "min_face_size", "pyramid_factor"),
    *("detection_thresholds", "margin"),
)
"""Parameters that the graph of a single-file cascade fixes."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write the detector for another server",
        description="Write the detector for another inference server.",
    )
    kinds = parser.add_subparsers(title="servers", required=True, metavar="SERVER")
    triton = kinds.add_parser(
        "triton",
        help="a model repository for NVIDIA's Triton container, on GPUs",
        description="Write a model repository for NVIDIA's Triton container: the whole cascade as"
        " one ONNX file for images of one size, run by ONNX Runtime with TensorRT on GPUs. Needs"
        " the source tree and the package onnx.",
    )
    triton.add_argument(
        "directory", type=Path, metavar="DIR", help="folder of the model repository"
    )
    triton.add_argument(
        "--image", default="640x480", metavar="WxH", help="size of the images, default 640x480"
    )
    add_options(triton, "load", LOAD_PARAMETERS)
    add_options(triton, "detector", FIXED)
    triton.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    # Only now: the other commands need none of it.
    from mask_detector_ros.serving.export import export_cascade

    values = option_values(arguments, LOCAL_PARAMETERS)
    load = option_values(arguments, LOAD_PARAMETERS)
    options = [f"--image={arguments.image}"]
    for parameter in FIXED:
        if parameter.name in vars(arguments):
            value = getattr(arguments, parameter.name)
            several = value if isinstance(value, list) else [value]
            options += [f"--{parameter.name.replace('_', '-')}", *map(str, several)]
    instances = load["instances"] or MIN_INSTANCES
    model = export_cascade(
        arguments.directory.expanduser(),
        values,
        options,
        name=load["model_name"],
        instances=instances,
        queue_size=load["queue_size"] or 2 * instances,
        queue_limit=load["queue_limit"],
    )
    print(
        f"wrote {model}; serve it with: docker run --rm --gpus all --shm-size 1g"
        f" -p 8001:8001 -v {model.parent.absolute()}:/models"
        " nvcr.io/nvidia/tritonserver:25.10-py3 tritonserver --model-repository=/models"
    )
    return 0
