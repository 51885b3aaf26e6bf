# SPDX-License-Identifier: Apache-2.0
"""The evaluation report as a Markdown page without photographs, to publish with a model."""

from collections.abc import Iterable

from mask_detector_ros.evaluation.html_report import NOTES
from mask_detector_ros.evaluation.report_tables import Table


def build_markdown(
    title: str, facts: Iterable[str], tables: Iterable[Table], plots: Iterable[str]
) -> str:
    """Render the evaluation report as a Markdown page; `plots` are paths relative to it."""
    parts = [
        f"# {title}",
        _list(facts),
        *(table_markdown(table) for table in tables),
        "\n".join(f"![{path}]({path})" for path in plots),
        "## How to read this",
        _list(NOTES),
    ]
    return "\n\n".join(parts) + "\n"


def table_markdown(table: Table) -> str:
    """Render a text table under its title as Markdown."""
    header, *body = table.lines
    lines = [header, ("---", *["---:"] * (len(header) - 1)), *body]
    rows = "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)
    return f"**{_escape(table.title)}**\n\n{rows}"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {_escape(item)}" for item in items)


def _escape(text: str) -> str:
    """Escape names such as mask_worn_incorrectly, which Markdown would read as emphasis."""
    for character in ("\\", "|", "*", "_", "<", "`"):
        text = text.replace(character, "\\" + character)
    return text
