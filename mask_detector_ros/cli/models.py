"""`mask-detector models`: the models of the package, and whether their files are intact."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from mask_detector_ros.errors import ModelError
from mask_detector_ros.models import ModelEntry, models_directory, read_manifest, read_model


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "models",
        help="list the models and check their files",
        description="List the models that come with the package and check their files.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    entries = read_manifest().values()
    problems = {entry.name: find_problem(entry) for entry in entries}
    if arguments.json:
        records = [{**asdict(e), "intact": not problems[e.name]} for e in entries]
        print(json.dumps(records, indent=2))
    else:
        print(f"models in {models_directory()}")
        for entry in entries:
            print(f"\n{entry.name} ({entry.file}): {problems[entry.name] or 'intact'}")
            print(f"  task      {entry.task}\n  input     {entry.input}")
            if entry.labels:
                print(f"  labels    {', '.join(entry.labels)}")
            print(f"  source    {entry.source}\n  licence   {entry.licence}")
            for name, figure in entry.accuracy.items():
                print(f"  accuracy  {name}: {figure}")
    return 1 if any(problems.values()) else 0


def find_problem(entry: ModelEntry) -> str:
    """What is wrong with the file of an entry; empty where nothing is."""
    try:
        read_model(entry)
    except ModelError as error:
        return str(error)
    return ""
