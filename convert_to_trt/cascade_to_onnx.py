"""One network of the whole cascade: python -m convert_to_trt.cascade_to_onnx --image 640x480 ...

From a uint8 image of one size to labelled faces. Compares the result with the cascade of
three networks on your photographs and writes nothing where they find different faces.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from convert_to_trt.cascade_settings import GraphSettings
from convert_to_trt.output_file import write_file
from mask_detector_ros.cli import FAILURE, INTERRUPTED, WRONG_USE, Parser
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import MaskDetectorError, ModelError, ParameterError
from mask_detector_ros.inference import create_session
from mask_detector_ros.models import find_classifier, find_detector
from mask_detector_ros.mtcnn.boxes import intersection_over_union
from mask_detector_ros.mtcnn.cascade import CascadeSettings
from mask_detector_ros.mtcnn.cascade_graph import CascadeGraph
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters
from mask_detector_ros.sources import list_images, read_image

SAME_FACE = 0.6
"""Intersection over union of a face that both found."""

MISSING_LIMIT = 0.05
"""Share of the faces that one of the two may find alone: those near a threshold."""


@dataclass(frozen=True)
class Agreement:
    """How the graph and the cascade of three networks agree.

    Attributes:
        pictures: how many were looked at.
        faces: that the cascade found.
        missing: of these, that the graph did not find.
        extra: that only the graph found.
        labels: of the common ones, with another label.
        box, probability: 50 %, 95 % and 99 % of the largest difference of a common face, in
            pixels and as a probability.
    """

    pictures: int
    faces: int
    missing: int
    extra: int
    labels: int
    box: tuple[float, float, float]
    probability: tuple[float, float, float]


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = Parser(
        prog="cascade_to_onnx",
        description="Make one network of the whole cascade, for images of one size.",
    )
    defaults = GraphSettings(640, 480)
    known = {p.name: p.default for p in DETECTOR_PARAMETERS}
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.onnx")
    parser.add_argument("--image", default="640x480", metavar="WxH", help="size of the images")
    for name in ("detector_model", "classifier_model"):
        parser.add_argument(f"--{name.replace('_', '-')}", default=known[name], help="as the node")
    parser.add_argument("--min-face-size", type=int, default=known["min_face_size"], metavar="PX")
    parser.add_argument("--pyramid-factor", type=float, default=known["pyramid_factor"])
    parser.add_argument(
        "--detection-thresholds",
        type=float,
        nargs=3,
        default=known["detection_thresholds"],
        metavar="T",
    )
    parser.add_argument("--margin", type=float, default=-1.0, help="default: the classifier's")
    parser.add_argument("--half", action="store_true", help="let the networks compute in float16")
    slots = ("level_slots", "window_slots", "refine_slots", "decide_slots", "face_slots")
    for name in slots:
        value = getattr(defaults, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, metavar="N")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photographs to compare on")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def read_settings(options: argparse.Namespace) -> GraphSettings:
    """What the graph is to be made for.

    Raises:
        ParameterError: an option is out of its range.
    """
    width, cross, height = options.image.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ParameterError(f"--image must be such as 640x480, got {options.image!r}")
    names = ("min_face_size", "pyramid_factor", "detection_thresholds", "margin")
    values = check_parameters(DETECTOR_PARAMETERS, {name: getattr(options, name) for name in names})
    given = vars(options)
    fields = [name for name in GraphSettings.__dataclass_fields__ if name in given]
    settings = GraphSettings(int(width), int(height), **{name: given[name] for name in fields})
    if min(getattr(settings, name) for name in fields if name.endswith("slots")) < 1:
        raise ParameterError("every number of slots must be 1 or more")
    return replace(settings, **{name: values[name] for name in names})


def fit_picture(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """A picture scaled to fit into (height, width, 3), black beside it."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    fitted = cv2.resize(picture, None, fx=scale, fy=scale)[:height, :width]
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: fitted.shape[0], : fitted.shape[1]] = fitted
    return canvas


def compare(
    graph: CascadeGraph,
    detector: MaskDetector,
    settings: CascadeSettings,
    pictures: Sequence[NDArray[np.uint8]],
) -> Agreement:
    """Show both the same pictures."""
    faces = missing = extra = labels = 0
    boxes, probabilities = [0.0], [0.0]
    for picture in tqdm(pictures, unit="picture", disable=not sys.stderr.isatty()):
        ours, theirs = graph(picture, settings), detector(picture)
        shared = intersection_over_union(theirs.boxes, ours.boxes)
        shared = np.pad(shared, ((0, 1), (0, 1)))  # there may be none at all
        common = np.flatnonzero(shared[:-1].max(axis=1) > SAME_FACE)
        partner = shared[common].argmax(axis=1)
        faces += len(theirs)
        missing += len(theirs) - len(common)
        extra += int((shared[:, :-1].max(axis=0) <= SAME_FACE).sum())
        a, b = theirs[common], ours[partner]
        labels += int((a.label_ids != b.label_ids).sum())
        boxes += np.abs(a.boxes - b.boxes).max(axis=1, initial=0.0).tolist()
        differences = np.abs(a.probabilities - b.probabilities)
        probabilities += differences.max(axis=1, initial=0.0).tolist()

    def spread(values: list[float]) -> tuple[float, float, float]:
        low, high, highest = np.percentile(values, [50, 95, 99]).round(4)
        return float(low), float(high), float(highest)

    return Agreement(
        len(pictures), faces, missing, extra, labels, spread(boxes), spread(probabilities)
    )


def convert(options: argparse.Namespace) -> dict[str, Any]:
    """Make the graph, compare it, write it; return the report.

    Raises:
        MaskDetectorError: it cannot be made, or finds other faces than the cascade.
    """
    settings = read_settings(options)
    folder = options.output.expanduser().absolute().parent
    if not folder.is_dir():
        raise ParameterError(f"-o must name a file in a folder that exists, got {options.output}")
    if options.photos is not None and not options.photos.is_dir():
        raise ParameterError(f"--photos must be a folder of pictures, got {options.photos}")
    # The first says what to install where the package onnx is missing.
    from mask_detector_ros.inference import typed_onnx  # noqa: F401, I001
    from convert_to_trt.cascade_graph import compose_cascade

    stages = find_detector(options.detector_model)
    model = compose_cascade(stages, find_classifier(options.classifier_model), settings)
    content = model.SerializeToString()
    graph = CascadeGraph(create_session(content, options.output.name, "onnxruntime"))
    report: dict[str, Any] = {"output": str(options.output), "bytes": len(content)}
    report |= asdict(settings)
    if options.photos is not None:
        values = check_parameters(
            DETECTOR_PARAMETERS,
            {
                "backend": "onnxruntime",
                "detector_model": options.detector_model,
                "classifier_model": options.classifier_model,
                "min_face_size": settings.min_face_size,
                "pyramid_factor": settings.pyramid_factor,
                "detection_thresholds": settings.detection_thresholds,
                "margin": settings.margin,
                "max_faces": settings.face_slots,
            },
        )
        names = CascadeSettings.__dataclass_fields__
        pictures = [
            fit_picture(read_image(path), settings.width, settings.height)
            for path in list_images(options.photos)
        ]
        agreement = compare(
            graph,
            MaskDetector.load(**values),
            CascadeSettings(**{name: values[name] for name in names}),
            pictures,
        )
        report["agreement"] = asdict(agreement)
        if max(agreement.missing, agreement.extra) > max(MISSING_LIMIT * agreement.faces, 1):
            raise ModelError(
                f"the graph misses {agreement.missing} and adds {agreement.extra} of"
                f" {agreement.faces} faces; give it more slots; nothing was written"
            )
    write_file(options.output, content)
    return report


def describe(report: dict[str, Any]) -> str:
    """The report as some lines of text."""
    lines = [
        f"{report['output']}: {report['width']}x{report['height']}, faces from"
        f" {report['min_face_size']} px, {report['bytes'] / 1e6:.1f} MB"
    ]
    if "agreement" in report:
        a = report["agreement"]
        lines.append(
            f"against the cascade on {a['pictures']} pictures: {a['faces']} faces, {a['missing']}"
            f" missing, {a['extra']} extra, {a['labels']} labels differ; 50, 95, 99 % of the boxes"
            f" within {', '.join(f'{v:.1f}' for v in a['box'])} px, of the probabilities within"
            f" {', '.join(f'{v:.3f}' for v in a['probability'])}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    options = build_parser().parse_args(argv)
    try:
        report = convert(options)
    except MaskDetectorError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG_USE if isinstance(error, ParameterError) else FAILURE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    print(json.dumps(report) if options.json else describe(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
