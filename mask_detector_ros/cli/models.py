# SPDX-License-Identifier: Apache-2.0
"""`mask-detector models`: list the package's models and check their files, or describe a custom
classifier."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mask_detector_ros import models
from mask_detector_ros.classifier import Classifier
from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference import create_session
from mask_detector_ros.label_roles import guess_roles


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "models",
        help="list the models and check their files",
        description="List the package's models and check their files, or show the metadata of "
        "your own classifiers.",
    )
    parser.add_argument("file", nargs="*", help="ONNX files of mask classifiers")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.file:
        records = [describe_file(name) for name in arguments.file]
        text = json.dumps(records, indent=2, ensure_ascii=False)
        print(text if arguments.json else "\n".join(map(_format_file, records)))
        return 0
    entries = models.read_manifest().values()
    problems = {entry.name: find_problem(entry) for entry in entries}
    if arguments.json:
        records = [
            {**asdict(e), "roles": guess_roles(e.labels), "intact": not problems[e.name]}
            for e in entries
        ]
        print(json.dumps(records, indent=2))
    else:
        print(f"models in {models.models_directory()}")
        for entry in entries:
            print(f"\n{entry.name} ({entry.file}): {problems[entry.name] or 'intact'}")
            print(f"  task      {entry.task}\n  input     {entry.input}")
            if entry.labels:
                print(f"  labels    {_name_labels(entry.labels, guess_roles(entry.labels))}")
            print(f"  source    {entry.source}\n  licence   {entry.licence}")
            for name, figure in entry.accuracy.items():
                print(f"  accuracy  {name}: {figure}")
    return 1 if any(problems.values()) else 0


def describe_file(name: str) -> dict[str, Any]:
    """Describe a mask classifier from the metadata of its ONNX file, as `mask-detector models`
    prints it.

    Raises:
        ModelError: it cannot be read, or is not a mask classifier.
    """
    session = create_session(models.find_classifier(name), name, "onnxruntime")
    classifier = Classifier(session)
    (source,) = session.inputs
    keys = ("color", "layout", "scale", "offset", "margin", "converted_from")
    return {
        "name": name,
        "labels": classifier.label_names,
        "roles": classifier.label_roles,
        "input": str(source),
        **{key: session.metadata[key] for key in keys if key in session.metadata},
    }


def _format_file(record: dict[str, Any]) -> str:
    lines = [record["name"], f"  labels    {_name_labels(record['labels'], record['roles'])}"]
    shown = ("name", "labels", "roles")
    return "\n".join([*lines, *(f"  {k:<9} {v}" for k, v in record.items() if k not in shown)])


def _name_labels(labels: Sequence[str], roles: Sequence[str]) -> str:
    """Each label, with its role if its name differs."""
    pairs = zip(labels, roles, strict=True)
    return ", ".join(
        name if role == name else f"{name} ({role or 'no role'})" for name, role in pairs
    )


def find_problem(entry: models.ModelEntry) -> str:
    """The problem that `mask-detector models` reports for the file of an entry; empty if it is
    intact."""
    try:
        models.read_model(entry)
    except ModelError as error:
        return str(error)
    return ""
