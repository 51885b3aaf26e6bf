# SPDX-License-Identifier: Apache-2.0
"""`mask-detector evaluate`: accuracy of detector and classifiers on labelled photographs."""

import argparse
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from mask_detector_ros.cli.options import add_detector_options, make_report_folder, option_values
from mask_detector_ros.errors import ParameterError, SourceError
from mask_detector_ros.evaluation.contact_sheet import worst_errors
from mask_detector_ros.evaluation.dataset import Dataset, read_dataset
from mask_detector_ros.evaluation.html_report import build_report
from mask_detector_ros.evaluation.markdown_report import build_markdown
from mask_detector_ros.evaluation.matching import MIN_OVERLAP
from mask_detector_ros.evaluation.perturb import PERTURBATIONS
from mask_detector_ros.evaluation.plots import draw_plots
from mask_detector_ros.evaluation.predictions import Predictions
from mask_detector_ros.evaluation.report_tables import confusion_tables, full_tables, short_tables
from mask_detector_ros.evaluation.run_networks import Networks, predict
from mask_detector_ros.evaluation.summary import Summary, summarise
from mask_detector_ros.output_file import write_output
from mask_detector_ros.parameters import DETECTOR_PARAMETERS

T = TypeVar("T")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure the accuracy on labelled photographs",
        description="Measure detection, classification and both together on labelled "
        "photographs, and print a short table. The folder has labels.csv (file, "
        "xmin, ymin, xmax, ymax, label; optionally split) and images/, or labels in "
        "PASCAL VOC XML, COCO JSON or YOLO format.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="folder of the data set")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="write report.html, report.md, report.json and plots/ there",
    )
    parser.add_argument("--split", help="only this part of the data set, such as val")
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="NAME",
        help="only photographs with this value in the column source, and those without a face; "
        "may be repeated",
    )
    parser.add_argument(
        "--iou",
        type=float,
        default=MIN_OVERLAP,
        metavar="X",
        help="minimum intersection over union of a detection with the known face that it matches; "
        f"default {MIN_OVERLAP:g}",
    )
    parser.add_argument(
        "--perturb",
        choices=PERTURBATIONS,
        default="",
        help="first make all photographs harder: cut the largest face at the edge, let it fill "
        "the image, rotate, darken, blur, compress, or remove the colour",
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="MODEL",
        help="mask classifier, by name or path; repeat it to compare several",
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail if any row of the data set has a problem"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_detector_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    values = option_values(arguments, DETECTOR_PARAMETERS)
    if arguments.model and "classifier_model" in arguments:
        raise ParameterError("give --model or --classifier-model, not both; they mean the same")
    if not 0 < arguments.iou <= 1:
        raise ParameterError(f"--iou must be above 0 and at most 1, got {arguments.iou:g}")
    output = make_report_folder(arguments.output)
    folder = Path(arguments.dataset).expanduser()
    dataset = read_dataset(
        folder, arguments.split, lambda paths: show_progress(paths, "check"), arguments.source
    )
    report_problems(dataset, arguments.strict)
    networks = Networks.load(values, dict.fromkeys(arguments.model or [values["classifier_model"]]))
    report_left_out(networks)
    images = show_progress(dataset.images, "run")
    predictions = predict(images, networks, arguments.iou, arguments.perturb)
    summary = summarise(predictions, lambda parts: show_progress(parts, "count"))
    report = to_json(arguments, dataset, values, summary)
    facts = describe(report)
    if output is not None:
        write_report(output, report, facts, dataset, predictions, summary)
    if arguments.json:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        print("\n".join(facts))
        for table in short_tables(summary):
            print(f"\n{table.to_text()}")
        if output is not None:
            print(f"\nreport: {output / 'report.html'}")
    return 0


def show_progress(items: Iterable[T], what: str) -> Iterable[T]:
    bar: Iterable[T] = tqdm(items, what, leave=False, disable=None)
    return bar


def report_left_out(networks: Networks) -> None:
    """Print which labels of a model `mask-detector evaluate` does not evaluate."""
    for model, classifier in networks.classifiers.items():
        pairs = zip(classifier.label_names, classifier.label_roles, strict=True)
        names = ", ".join(name for name, role in pairs if not role)
        if names:
            print(
                f"note: {model} has labels without a role, which are left out: {names}; each face"
                " counts by its most probable other label",
                file=sys.stderr,
            )


def report_problems(dataset: Dataset, strict: bool) -> None:
    """Print the unusable rows of the data set that `mask-detector evaluate` skips.

    Raises:
        SourceError: there are unusable rows and `strict` is set.
    """
    if not dataset.problems:
        return
    for problem in dataset.problems:
        print(problem, file=sys.stderr)
    counts = ", ".join(f"{kind} {count}" for kind, count in dataset.problem_counts.items())
    total = f"{len(dataset.problems)} problems in the data set ({counts})"
    if strict:
        raise SourceError(f"{total}; fix them, or leave out --strict to skip the affected rows")
    print(f"warning: {total}; the affected rows are skipped", file=sys.stderr)


def to_json(
    arguments: argparse.Namespace, dataset: Dataset, values: dict[str, Any], summary: Summary
) -> dict[str, Any]:
    """Convert the whole evaluation report to JSON-ready values; null where there was nothing to
    count."""
    negatives = sum(image.is_negative for image in dataset.images)
    for_detection = [i for i in dataset.images if not i.is_whole_image and not i.is_negative]
    report = {
        "data": {
            "folder": str(Path(arguments.dataset).expanduser()),
            "split": arguments.split,
            "sources": arguments.source,
            "perturbation": arguments.perturb,
            "images": len(dataset.images) - negatives,
            "negatives": negatives,
            "faces": sum(len(image.boxes) for image in dataset.images),
            "images_for_detection": len(for_detection),
            "faces_for_detection": sum(len(image.boxes) for image in for_detection),
            "problem_counts": dataset.problem_counts,
            "problems": [asdict(problem) for problem in dataset.problems],
        },
        "parameters": values,
        **asdict(summary),
    }
    cleaned: dict[str, Any] = _without_nan(report)
    return cleaned


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def describe(report: dict[str, Any]) -> list[str]:
    """Describe in sentences what was evaluated, from the JSON report."""
    data, parameters = report["data"], report["parameters"]
    thresholds = " ".join(f"{threshold:g}" for threshold in parameters["detection_thresholds"])
    cut_out = data["images"] - data["images_for_detection"]
    facts = [
        f"data: {data['folder']}, split {data['split'] or 'all'}:"
        f" {data['faces']} faces in {data['images']} images",
        f"for detection: {data['faces_for_detection']} faces in {data['images_for_detection']}"
        f" images; {cut_out} images are cut-out faces and count for classification only",
        *([f"without a face: {data['negatives']} further images"] if data["negatives"] else []),
        *([f"sources: {', '.join(data['sources'])}"] if data["sources"] else []),
        *([f"perturbed: {data['perturbation']}"] if data["perturbation"] else []),
        f"detector: {parameters['detector_model']}, min_face_size {parameters['min_face_size']},"
        f" detection_thresholds {thresholds}",
        f"classifiers: {', '.join(report['models'])}",
    ]
    skipped = sum(data["problem_counts"].values())
    return [*facts, f"problems in the data set, skipped: {skipped}"] if skipped else facts


def write_report(
    output: Path,
    report: dict[str, Any],
    facts: list[str],
    dataset: Dataset,
    predictions: Predictions,
    summary: Summary,
) -> None:
    """Write the evaluation's report.html, report.md (which shows no photograph), report.json and
    plots.

    Raises:
        SourceError: a file cannot be written.
    """
    plots = draw_plots(predictions, summary)
    tables = [*full_tables(summary), *confusion_tables(summary)]
    title = "Accuracy of the mask detector"
    page = build_report(title, facts, tables, plots, worst_errors(predictions), dataset.problems)
    files = {f"plots/{name}.svg": svg for name, svg in plots.items()}
    files["report.md"] = build_markdown(title, facts, tables, files)
    files["report.html"] = page
    files["report.json"] = json.dumps(report, indent=2, allow_nan=False) + "\n"
    for name, text in files.items():
        write_output(output / name, text.encode())
