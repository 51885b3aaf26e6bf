# SPDX-License-Identifier: Apache-2.0
"""A self-contained HTML page: tables, plots and the worst errors."""

import base64
from collections.abc import Iterable
from html import escape

from mask_detector_ros.evaluation.contact_sheet import WrongFace, thumbnail
from mask_detector_ros.evaluation.label_files import Problem
from mask_detector_ros.evaluation.report_tables import Table

SHOWN_PROBLEMS = 200
"""Maximum number of problems listed; the JSON report has all."""

NOTES = (
    "In brackets: 95 % interval from a bootstrap over images (1,000 draws, fixed seed).",
    "Sizes are the longer side of a box, in pixels.",
    "An image with a single box that covers at least 90 % of it is a cut-out face: it counts for"
    " classification, without margin, and neither for detection nor end to end.",
    "Detections are matched best score first, each to the unmatched known face it overlaps most,"
    " at the IoU above the table or more. Recall, precision and mean IoU (of matches) are those at"
    " the chosen thresholds; average precision is the area under the whole curve, down to scores"
    " of 0.05 in the last stage.",
    "A detection that matches no known face counts as false in the size range of its own box. It"
    " has no mask state and counts for each, so precision by state is a lower bound. Unlabelled"
    " faces make precision read low.",
    "A detection on a box labelled ignore, or on a row skipped for a problem, is neither right"
    " nor wrong.",
    "Photographs listed without a face count for false faces only.",
    "Yaw and skin tone are estimated from landmarks that one fixed network places in the known"
    " boxes: yaw from the nose's offset from the midpoint of the eyes in eye distances (groups"
    " split at 0.2 and 0.5), tone from the individual typology angle of the skin above the eyes"
    " (split at 41 and 10 degrees). That angle also depends on light and white balance, so it is"
    " valid for groups of faces, not for a single face.",
    "Binary: mask against no mask, on faces of these two labels, by the more probable of the two."
    " A model without one of these labels gets no face of it right.",
    "Calibration error: expected difference between the probability of the predicted label and"
    " the accuracy, in 15 bins of equal width.",
)

_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
caption { text-align: left; font-weight: bold; padding: .3em 0; }
td, th { border-bottom: 1px solid #ccc; padding: .2em .8em; text-align: right; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; }
figure { display: inline-block; width: 136px; margin: 4px; vertical-align: top; }
figcaption { font-size: 11px; line-height: 1.3; overflow-wrap: anywhere; }
"""


def build_report(
    title: str,
    facts: Iterable[str],
    tables: Iterable[Table],
    plots: dict[str, str],
    errors: dict[str, list[WrongFace]],
    problems: tuple[Problem, ...],
) -> str:
    """Render the evaluation report as an HTML page.

    `plots` are SVG by name, `errors` the worst ones by kind.

    Raises:
        SourceError: a photograph cannot be read.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        _list(facts),
        *(table_html(table) for table in tables),
        "<h2>Plots</h2>",
        *(_image("svg+xml", svg.encode(), name) for name, svg in plots.items()),
        "<h2>Worst errors</h2>",
        *(_contact_sheet(kind, faces) for kind, faces in errors.items()),
    ]
    if problems:
        shown = [str(problem) for problem in problems[:SHOWN_PROBLEMS]]
        more = len(problems) - len(shown)
        parts += [f"<h2>{len(problems)} problems in the data set</h2>"]
        parts += [_list([*shown, f"and {more} more"] if more else shown)]
    parts += ["<h2>How to read this</h2>", _list(NOTES)]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>' + "\n".join(
        [*parts, "</body></html>\n"]
    )


def table_html(table: Table) -> str:
    """Render a text table as HTML for the report."""
    head, *lines = table.lines
    header = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    caption = f"<caption>{escape(table.title)}</caption>"
    return f"<table>{caption}<thead><tr>{header}</tr></thead>\n<tbody>{rows}</tbody></table>"


def _contact_sheet(kind: str, faces: list[WrongFace]) -> str:
    figures = [
        f"<figure>{_image('jpeg', thumbnail(face), face.caption)}"
        f"<figcaption>{escape(face.caption)}<br>{escape(face.path.name)}</figcaption></figure>"
        for face in faces
    ]
    return f"<h3>{escape(kind)}</h3>\n" + ("\n".join(figures) or "<p>none</p>")


def _image(kind: str, content: bytes, text: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<img alt="{escape(text)}" src="data:image/{kind};base64,{data}">'


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
