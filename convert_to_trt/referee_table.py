# SPDX-License-Identifier: Apache-2.0
"""Make a table of how well the referee judges models whose right settings are known.

python -m convert_to_trt.referee_table MODELS.csv --crops FOLDER

MODELS.csv has a line for each model: `model` (its path, from the file's folder), `labels`,
`preprocess`, `color`, and for some `outputs`, `size`, `logits` (yes). Each model is judged under
its right settings and under wrong ones: labels in another order, the other colour, other ranges.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert_to_trt.classifier_settings import PRESETS, Settings
from convert_to_trt.converter_environments import change_into
from convert_to_trt.keras_to_onnx import build_parser
from convert_to_trt.model_bundles import open_bundle
from convert_to_trt.process_limits import limit_process
from mask_detector_ros.cli.command import Parser, run_command
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.label_roles import WITH_MASK, WITHOUT_MASK

if TYPE_CHECKING:
    from convert_to_trt.referee import Verdict

TIME_LIMIT = 6 * 3600.0
"""Seconds for all models together."""

FAULTS = ("order", "color", "range", "pixels")
"""What is given wrong: labels with and without exchanged; BGR for RGB; x/255 for x/127.5-1 and the
other way round; 0 to 255 for either."""


def build_table_parser() -> argparse.ArgumentParser:
    """Make the argument parser of `convert_to_trt.referee_table`."""
    parser = Parser(prog="referee_table", description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, metavar="MODELS.csv")
    parser.add_argument(
        "--crops",
        type=Path,
        metavar="FOLDER",
        help="face crops to judge on; default: rendered faces",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    return parser


def read_models(path: Path) -> list[dict[str, str]]:
    """Read the list of models to test the referee with; make the path of each absolute.

    Raises:
        ParameterError: the file cannot be read, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"cannot read {path} ({error}); give a CSV of models") from error
    if not rows or not {"model", "labels", "preprocess"} <= set(rows[0]):
        raise ParameterError(f"{path} must have the columns model, labels, preprocess and color")
    return [{**row, "model": str(path.parent / row["model"])} for row in rows]


def judge_model(row: dict[str, str], crops_folder: Path | None) -> dict[str, Any]:
    """Let the referee judge a model under right and wrong settings.

    Returns:
        `model`, `right` and one entry for each of `FAULTS` that the model can have: the verdict
        as a record, with `warned`.
    """
    from convert_to_trt.choose_settings import make_classify, varied_parts
    from convert_to_trt.conversion import prepare
    from convert_to_trt.face_crops import read_crops
    from convert_to_trt.referee import judge
    from convert_to_trt.referee_evidence import gather

    words = [row["model"], "--labels", row["labels"], "--preprocess", row["preprocess"]]
    for name in ("color", "outputs", "size"):
        words += [f"--{name}", row[name]] if row.get(name) else []
    words += ["--logits"] if row.get("logits") else []
    options = build_parser().parse_args(words)
    with open_bundle(options.input) as bundle:
        prepared = prepare(options, bundle)
        given, form = prepared.settings, prepared.form
        own = read_crops(crops_folder, given.labels, given.roles) if crops_folder else None
        evidence = gather(own)
        classify = make_classify(prepared, evidence.crops, row["model"])
        varied = varied_parts(form)
        cases = {"right": given, **dict(_wrong(given, varied))}
        return {
            "model": row["model"],
            **{
                name: _record(judge(classify, s, evidence, varied, prepared.origin))
                for name, s in cases.items()
            },
        }


def _wrong(right: Settings, varied: tuple[str, ...]) -> Iterator[tuple[str, Settings]]:
    order = list(range(len(right.labels)))
    a, b = right.roles.index(WITH_MASK), right.roles.index(WITHOUT_MASK)
    order[a], order[b] = order[b], order[a]
    labels, roles = (tuple(values[i] for i in order) for values in (right.labels, right.roles))
    yield "order", right.with_labels(labels, roles)
    if "color" in varied:
        yield "color", replace(right, color={"RGB": "BGR", "BGR": "RGB"}[right.color])
    if "scale" in varied:
        unit, centred, pixels = (PRESETS[name] for name in ("unit", "mobilenet_v2", "none"))
        other = centred if (right.scale, right.offset) == (unit.scale, unit.offset) else unit
        for name, preset in (("range", other), ("pixels", pixels)):
            if (right.scale, right.offset) != (preset.scale, preset.offset):
                yield name, right.with_pixels(preset._replace(color=right.color))


def _record(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {"warned": False, "agreement": None}
    best = verdict.better
    return {
        "warned": best is not None,
        "agreement": round(verdict.given.agreement, 3),
        "better": best.to_record() if best else None,
        "best": verdict.rows[0].to_record(),
    }


def describe(records: Sequence[dict[str, Any]]) -> str:
    """Format the referee's table: agreement under each setting, marked where the referee warned."""
    lines = ["| model | right | " + " | ".join(FAULTS) + " |", "|" + "---|" * (len(FAULTS) + 2)]
    for record in records:
        cells = [_cell(record.get(name)) for name in ("right", *FAULTS)]
        lines.append(f"| {Path(record['model']).parent.name} | " + " | ".join(cells) + " |")
    for name in ("right", *FAULTS):
        known = [record[name] for record in records if name in record]
        warned = sum(entry["warned"] for entry in known)
        lines.append(f"{name}: warned of {warned} of {len(known)}")
    return "\n".join(lines)


def _cell(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["agreement"] is None:
        return "-"
    return f"{entry['agreement']:.0%}{' warned' if entry['warned'] else ''}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = build_table_parser().parse_args(arguments)

    def run() -> int:
        rows = read_models(options.models)
        is_onnx = all(Path(row["model"]).suffix == ".onnx" for row in rows)
        if not is_onnx and not importlib.util.find_spec("tensorflow"):
            change_into("convert_to_trt.referee_table", arguments)
        records = []
        for row in rows:
            print(row["model"], file=sys.stderr, flush=True)
            records.append(judge_model(row, options.crops))
            print(describe(records[-1:]).splitlines()[2], file=sys.stderr, flush=True)
        print(json.dumps(records, ensure_ascii=False) if options.json else describe(records))
        return 0

    return run_command(run)


if __name__ == "__main__":
    limit_process(seconds=TIME_LIMIT)
    sys.exit(main())
