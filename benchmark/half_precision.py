# SPDX-License-Identifier: Apache-2.0
"""Compare the networks in float16 with float32 on photographs.

    python -m benchmark.half_precision DATASET [--split val] [--photographs N] [--json]

Needs no GPU. ONNX Runtime computes float16 networks in float32 on most processors and leaves the
rounding between layers out; here every value that a float16 network keeps is rounded.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from tqdm import tqdm

from benchmark.reporting import table
from mask_detector_ros.classifier import Classifier
from mask_detector_ros.cli.command import Parser, run_command
from mask_detector_ros.cli.options import add_options, detector_parameters, option_values
from mask_detector_ros.evaluation.agreement import BOX_LIMIT, PROBABILITY_LIMIT, Agreement
from mask_detector_ros.evaluation.dataset import read_dataset
from mask_detector_ros.evaluation.matching import match_faces
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.session import Array, Session
from mask_detector_ros.inference.tensorrt.precision import precision_of
from mask_detector_ros.inference.tensorrt.typed_onnx import to_half
from mask_detector_ros.models import find_classifier, find_detector, takes_classifier
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.loading import assemble_cascade
from mask_detector_ros.sources import read_image

PARAMETERS = detector_parameters(
    *("detector_model", "classifier_model", "threads", "min_face_size", "pyramid_factor"),
    *("detection_thresholds", "max_faces", "max_candidates", "margin"),
)
FLOAT16 = "float16, as it is built"
ALL, THROUGHOUT, BRIGHTER = (
    "all networks in float16",
    "all, first and last layers too",
    "float32, 1 grey level more",
)

Find = Callable[[NDArray[np.uint8]], Faces]


def round_values(model: bytes) -> bytes:
    """Half precision in a float32 network: round to float16 every value that a typed network stores
    in float16.

    Two differences from a GPU remain: sums of products are exact, as with tensor cores, although a
    GPU may also add in float16; and TensorRT rounds fused layers only once.
    """
    network = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True)
    graph = network.graph
    known = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    half = {name for name, kind in known.items() if kind == TensorProto.FLOAT16}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    nodes = []
    for node in graph.node:
        rounded = [name for name in node.output if name in half]
        node.output[:] = [f"{name} exact" if name in half else name for name in node.output]
        nodes.append(node)
        for name in rounded:
            cast = ([f"{name} exact"], [f"{name} half"])
            nodes.append(helper.make_node("Cast", *cast, to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [f"{name} half"], [name], to=TensorProto.FLOAT))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    content: bytes = network.SerializeToString()
    return content


class Twin(Session):
    """Runs the float16 network on the inputs of the float32 one and records the differences.

    Attributes:
        largest: largest difference of each output on the same input.
        scores: (own, other's) scores of each call for one image, for networks that output scores.
    """

    def __init__(self, session: Session, other: Session) -> None:
        self.name, self.backend, self.device = session.name, session.backend, session.device
        self.inputs, self.outputs = session.inputs, session.outputs
        self.metadata = session.metadata
        self.largest: dict[str, float] = {}
        self.scores: list[tuple[Array, Array]] = []
        self._session, self._other = session, other

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        own, other = self._session.run(**arrays), self._other.run(**arrays)
        for name, values in own.items():
            difference = float(np.abs(values - other[name]).max(initial=0))
            self.largest[name] = max(self.largest.get(name, 0.0), difference)
        if "scores" in own:
            self.scores.append((own["scores"].ravel(), other["scores"].ravel()))
        return own


def finder(sessions: Mapping[str, Session], values: Mapping[str, Any]) -> Find:
    """Make the detector over these networks, in half or single precision."""
    stages = {name: session for name, session in sessions.items() if name != "classifier"}
    cascade, settings = assemble_cascade(stages), DetectionSettings.of(values)
    if "classifier" not in sessions:
        return lambda image: cascade(image, settings)
    classifier = Classifier(sessions["classifier"])
    return lambda image: classifier(image, cascade(image, settings), values["margin"])


def trace_outliers(expected: Faces, faces: Faces, last_stage: Twin) -> list[dict[str, float]]:
    """The boxes that half precision moves, with the float32 scores of both candidates of each.

    The cascade takes the best of many candidates. If float32 scores both choices nearly equal, they
    were a tie.

    Args:
        expected: the faces found in float32.
        faces: those found with all networks in float16.
        last_stage: the last stage, which has processed the candidates of this image.
    """
    outliers = []
    for face, partner in enumerate(match_faces(faces, expected)):
        box = expected.boxes[face]
        moved = float(np.abs(box - faces.boxes[partner]).max()) if partner >= 0 else 0.0
        if moved > BOX_LIMIT:
            own, other = map(np.concatenate, zip(*last_stage.scores, strict=True))
            outliers.append(
                {
                    "box_px": moved,
                    "side_px": float((box[2:] - box[:2]).max()),
                    "score": float(expected.scores[face]),
                    "score_of_the_other": float(other[own == faces.scores[partner]].max()),
                }
            )
    return outliers


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all differences between half and single precision on photographs; return the report.

    Raises:
        MaskDetectorError: a model or the data set cannot be used.
    """
    values = option_values(options, PARAMETERS)
    networks = find_detector(values["detector_model"])
    if takes_classifier(networks, values["classifier_model"]):
        networks["classifier"] = find_classifier(values["classifier_model"])
    last_stage = "decision" if "decision" in networks else "onet"
    paths = [image.path for image in read_dataset(Path(options.dataset), options.split).images]
    step = max(1, len(paths) // options.photographs) if options.photographs else 1
    images = [read_image(path) for path in paths[::step]]

    def load(model: bytes, name: str) -> Session:
        return create_session(model, name, "onnxruntime", values["threads"])

    def progress(what: str) -> Iterable[NDArray[np.uint8]]:
        return tqdm(images, what, leave=False, disable=not sys.stderr.isatty())

    exact = {name: load(model, name) for name, model in networks.items()}
    half = {name: load(round_values(to_half(m, name)), name) for name, m in networks.items()}
    twins = {name: Twin(half[name], exact[name]) for name in half}
    wanted = [finder(exact, values)(image) for image in progress("float32")]

    def compare(what: str, find: Find) -> dict[str, object]:
        faces = (find(image) for image in progress(what))
        return Agreement.of(zip(wanted, faces, strict=True)).to_record()

    shipped = {
        name: session
        for name, session in half.items()
        if precision_of((output.name for output in session.outputs), "fp16") == "fp16"
    }
    rows = {FLOAT16: compare(FLOAT16, finder({**exact, **shipped}, values))}
    for name in (name for name in half if name not in shipped):
        what = f"only {name} in float16"
        rows[what] = compare(what, finder({**exact, name: half[name]}, values))
    outliers: list[dict[str, float]] = []
    find, found = finder(twins, values), []
    for image, expected in zip(progress(ALL), wanted, strict=True):
        for twin in twins.values():
            twin.scores.clear()
        faces = find(image)
        found.append((expected, faces))
        outliers += trace_outliers(expected, faces, twins[last_stage])
    rows[ALL] = Agreement.of(found).to_record()
    blunt = {name: load(round_values(_throughout(model)), name) for name, model in networks.items()}
    rows[THROUGHOUT] = compare(THROUGHOUT, finder(blunt, values))
    plain = finder(exact, values)
    rows[BRIGHTER] = compare(BRIGHTER, lambda p: plain(np.where(p < 255, p + 1, p)))
    same_input = {name: twin.largest for name, twin in twins.items()}
    return {"rows": rows, "same_input": same_input, "outliers": outliers}


def _throughout(model: bytes) -> bytes:
    network = convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True)
    content: bytes = network.SerializeToString()
    return content


def describe(report: dict[str, Any]) -> str:
    """Format the report on half precision as text tables."""
    head = ("against float32", "faces", "missing", "extra", "other label")
    head += (f"boxes within {BOX_LIMIT} px", "largest")
    head += (f"probabilities within {PROBABILITY_LIMIT}", "largest")
    rows = []
    for what, row in report["rows"].items():
        box, probability = row["box_px"], row["probability"]
        counts = (row[name] for name in ("faces", "missing", "extra", "labels"))
        boxes = (f"{box[f'within_{BOX_LIMIT}']:.1%}", f"{box['100%']:.1f}")
        within = probability[f"within_{PROBABILITY_LIMIT}"]
        rows.append((what, *counts, *boxes, f"{within:.1%}", f"{probability['100%']:.3f}"))
    lines = [table(head, rows)]
    lines += ["", "largest difference of an output in float16, on the same input:"]
    for name, largest in report["same_input"].items():
        told = ", ".join(f"{output} {value:.4f}" for output, value in largest.items())
        lines.append(f"  {name}: {told}")
    outliers = report["outliers"]
    gaps = [abs(face["score"] - face["score_of_the_other"]) for face in outliers]
    lines += ["", f"{len(outliers)} boxes of {ALL} lie more than {BOX_LIMIT} px away"]
    if gaps:
        lines[-1] += (
            f"; the last stage in float32 scores the two candidates {np.median(gaps):.1g} apart in"
            f" the median, {max(gaps):.1g} at most"
        )
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """Make the argument parser of `benchmark.half_precision`."""
    parser = Parser(prog="half_precision", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", metavar="DATASET", help="data set as for mask-detector evaluate")
    parser.add_argument("--split", help="only this split of the data set, such as val")
    parser.add_argument(
        "--photographs",
        type=int,
        default=200,
        metavar="N",
        help="approximate number of photographs; 0: all; default: 200",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_options(parser, "detector", PARAMETERS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    options = build_parser().parse_args(argv)

    def run() -> int:
        report = measure(options)
        print(json.dumps(report, indent=1) if options.json else describe(report))
        return 0

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
