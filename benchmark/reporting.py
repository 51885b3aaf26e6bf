# SPDX-License-Identifier: Apache-2.0
"""Write what a benchmark measured: a JSON file, and tables in Markdown."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mask_detector_ros.speed.machine import describe_machine


def write_report(path: Path, **figures: Any) -> None:
    """Report the figures of a benchmark: write them and the machine as JSON, and print where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": describe_machine(), **figures}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path}")


def table_row(*cells: object) -> str:
    """A row of a Markdown table in a benchmark's report."""
    return "| " + " | ".join(map(str, cells)) + " |"


def table_head(*names: object) -> str:
    """The first two lines of a Markdown table in a benchmark's report."""
    return table_row(*names) + "\n" + "|---" * len(names) + "|"


def table(names: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table in a benchmark's report."""
    return "\n".join([table_head(*names), *(table_row(*row) for row in rows)])
