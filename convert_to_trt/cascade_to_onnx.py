# SPDX-License-Identifier: Apache-2.0
"""Make a single-file cascade: python -m convert_to_trt.cascade_to_onnx --image 640x480 ...

The network maps a uint8 image of one size to labelled faces. It is compared with the cascade of
separate networks on your photographs, and not written if they find different faces.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from convert_to_trt.cascade_settings import TWO_STAGE_SLOTS, GraphSettings
from mask_detector_ros.cli.command import Parser, run_command
from mask_detector_ros.cli.options import add_options, detector_parameters, option_values
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ModelError, ParameterError
from mask_detector_ros.evaluation.agreement import Agreement
from mask_detector_ros.imaging.scaling import letterbox
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.fixed_slots import to_fixed_slots
from mask_detector_ros.models import (
    classifier_name,
    find_classifier,
    find_detector,
    takes_classifier,
)
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.single_file_cascade import CascadeGraph
from mask_detector_ros.output_file import write_output
from mask_detector_ros.parameters import DETECTOR_PARAMETERS
from mask_detector_ros.sources import list_images, read_image

if TYPE_CHECKING:
    import onnx

MISSING_LIMIT = 0.05
"""Fraction of the faces that only one of the two may find: those near a threshold."""

PARAMETERS = detector_parameters(
    *("detector_model", "classifier_model", "min_face_size", "pyramid_factor"),
    *("detection_thresholds", "margin"),
)


def build_parser() -> argparse.ArgumentParser:
    """Make the argument parser of `convert_to_trt.cascade_to_onnx`."""
    parser = Parser(
        prog="cascade_to_onnx",
        description="Make a single-file cascade for images of one size.",
    )
    defaults = GraphSettings(640, 480)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.onnx")
    parser.add_argument("--image", default="640x480", metavar="WxH", help="size of the images")
    parser.add_argument("--half", action="store_true", help="let the classifier compute in float16")
    slots = ("level_slots", "window_slots", "refine_slots", "decide_slots", "face_slots")
    for name in slots:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            metavar="N",
            help=f"default: {getattr(defaults, name)}"
            + (f", for the two-stage cascade {TWO_STAGE_SLOTS}" if name == "decide_slots" else ""),
        )
    parser.add_argument(
        "--fixed-slots",
        action="store_true",
        help="compute empty slots, too: fixed shapes for TensorRT outside this package",
    )
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photographs to compare on")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_options(parser, "as the node", PARAMETERS)
    return parser


def read_settings(options: argparse.Namespace) -> GraphSettings:
    """Read the settings of the single-file cascade from the options.

    Raises:
        ParameterError: an option is out of its range.
    """
    width, cross, height = options.image.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ParameterError(f"--image must have the form 640x480, got {options.image!r}")
    given = {**vars(options), **option_values(options, PARAMETERS)}
    fields = [n for n in GraphSettings.__dataclass_fields__ if given.get(n) is not None]
    settings = GraphSettings(int(width), int(height), **{name: given[name] for name in fields})
    if min((getattr(settings, name) for name in fields if name.endswith("slots")), default=1) < 1:
        raise ParameterError("every number of slots must be 1 or more")
    return settings


def compose(detector_model: str, classifier_model: str, settings: GraphSettings) -> onnx.ModelProto:
    """Compose the single-file cascade of a detector of three stages and a classifier, or of two
    stages.

    Raises:
        ParameterError: no face can be found with these settings, or they do not fit the detector.
        ModelError: a model is missing, or cannot be put into a graph.
    """
    # The first import says what to install if the package onnx is missing.
    from mask_detector_ros.inference.tensorrt import typed_onnx  # noqa: F401, I001
    from convert_to_trt.three_stage_graph import compose_cascade
    from convert_to_trt.two_stage_graph import compose_two_stage

    stages = find_detector(detector_model)
    if "proposal" not in stages:
        classifier = find_classifier(classifier_name(classifier_model))
        return compose_cascade(stages, classifier, settings)
    if takes_classifier(stages, classifier_model):
        raise ParameterError(
            "in one graph the two-stage cascade labels by itself; leave --classifier-model out"
        )
    if settings.half:
        raise ParameterError(
            "both networks of the two-stage cascade place faces and compute in float32; leave"
            " --half out"
        )
    return compose_two_stage(stages, settings)


def convert(options: argparse.Namespace) -> dict[str, Any]:
    """Make the single-file cascade, compare it with the detector, write it; return the report.

    Raises:
        MaskDetectorError: it cannot be made, or finds different faces from the cascade.
    """
    settings = read_settings(options)
    folder = options.output.expanduser().absolute().parent
    if not folder.is_dir():
        raise ParameterError(f"-o must name a file in a folder that exists, got {options.output}")
    if options.photos is not None and not options.photos.is_dir():
        raise ParameterError(f"--photos must be a folder of images, got {options.photos}")
    values = option_values(options, DETECTOR_PARAMETERS)
    values |= {"backend": "onnxruntime", "max_faces": settings.face_slots}
    is_two_stage = "proposal" in find_detector(values["detector_model"])
    if is_two_stage and options.decide_slots is None:
        settings = replace(settings, decide_slots=TWO_STAGE_SLOTS)
    model = compose(values["detector_model"], values["classifier_model"], settings)
    content = model.SerializeToString()
    if options.fixed_slots:
        content = to_fixed_slots(content, options.output.name)
    graph = CascadeGraph(create_session(content, options.output.name, "onnxruntime"))
    report: dict[str, Any] = {"output": str(options.output), "bytes": len(content)}
    report |= asdict(settings)
    if options.photos is not None:
        fixed = DetectionSettings.of(values)
        detector = MaskDetector.load(**values)
        paths = tqdm(list_images(options.photos), unit="image", disable=not sys.stderr.isatty())
        size = (settings.width, settings.height)
        images = (letterbox(read_image(path), size) for path in paths)
        agreement = Agreement.of((detector(i), graph(i, fixed)) for i in images)
        report["agreement"] = agreement.to_record()
        if max(agreement.missing, agreement.extra) > max(MISSING_LIMIT * agreement.faces, 1):
            raise ModelError(
                f"the graph misses {agreement.missing} and adds {agreement.extra} of"
                f" {agreement.faces} faces; give it more slots; nothing was written"
            )
    write_output(options.output, content)
    return report


def describe(report: dict[str, Any]) -> str:
    """Format the report on a single-file cascade as lines of text."""
    lines = [
        f"{report['output']}: {report['width']}x{report['height']}, faces from"
        f" {report['min_face_size']} px, {report['bytes'] / 1e6:.1f} MB"
    ]
    if "agreement" in report:
        a = report["agreement"]
        boxes = [f"{a['box_px'][share]:.1f}" for share in ("50%", "95%", "99%")]
        changes = [f"{a['probability'][share]:.3f}" for share in ("50%", "95%", "99%")]
        lines.append(
            f"against the cascade on {a['images']} images: {a['faces']} faces, {a['missing']}"
            f" missing, {a['extra']} extra, {a['labels']} labels differ; 50, 95, 99 % of the boxes"
            f" within {', '.join(boxes)} px, of the probabilities within {', '.join(changes)}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    options = build_parser().parse_args(argv)

    def run() -> int:
        report = convert(options)
        print(json.dumps(report) if options.json else describe(report))
        return 0

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
