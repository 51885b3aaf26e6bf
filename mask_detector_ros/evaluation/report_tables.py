# SPDX-License-Identifier: Apache-2.0
"""The evaluation's figures as text tables, for the terminal and the report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mask_detector_ros.evaluation.dataset import LABELS
from mask_detector_ros.evaluation.group_figures import MIN_SIDE, GroupFigures
from mask_detector_ros.evaluation.summary import (
    ANY_STATE,
    HEADLINE,
    DetectionFigures,
    PrecisionPoint,
    Summary,
)


@dataclass(frozen=True)
class Table:
    """A table of the evaluation report: a title, the names of the columns, and rows of cells."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The header and the rows of a table of the evaluation report as text."""
        return [self.header, *(tuple(map(str, row)) for row in self.rows)]

    def to_text(self) -> str:
        """Format a table of the evaluation report as text; the first column is aligned left, the
        others right."""
        lines = self.lines
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            "  ".join(
                cell.rjust(width) if index else cell.ljust(width)
                for index, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *text])


def short_tables(summary: Summary) -> list[Table]:
    """The evaluation's short tables: detection by size and, in the headline range, by state; one
    line per model."""
    rows = [
        figures
        for figures in summary.detection
        if figures.state == ANY_STATE or figures.size == HEADLINE
    ]
    return [
        detection_table(rows, summary.min_overlap),
        precision_table(summary.at_precision),
        classification_table(summary, [HEADLINE]),
        end_to_end_table(summary, [HEADLINE]),
        *false_faces_tables(summary),
    ]


def full_tables(summary: Summary) -> list[Table]:
    """All tables of the evaluation report but the confusion matrices."""
    sizes = [figures.size for figures in summary.detection if figures.state == ANY_STATE]
    return [
        detection_table(summary.detection, summary.min_overlap),
        precision_table(summary.at_precision),
        classification_table(summary, sizes),
        end_to_end_table(summary, sizes),
        *(
            groups_table(name, model.groups)
            for name, model in summary.models.items()
            if len(model.groups) > 1  # beside all faces
        ),
        *false_faces_tables(summary),
    ]


def groups_table(model: str, groups: Iterable[GroupFigures]) -> Table:
    return Table(
        f"Groups of faces of {MIN_SIDE:g} px and more, labels by {model} on the known boxes",
        ("faces", "count", "found", "labelled right", "bare faces", "of these called incorrect"),
        [
            (
                *(row.group, row.faces, row.recall, row.label_accuracy),
                *(row.bare_faces, row.bare_called_incorrect),
            )
            for row in groups
        ],
    )


def false_faces_tables(summary: Summary) -> list[Table]:
    """The evaluation's table of false faces, or none if the sizes of the photographs are
    unknown."""
    rows = [
        (row.images, row.count, row.false_faces, row.per_image, row.per_megapixel)
        for row in summary.false_faces
    ]
    header = ("images", "count", "false faces", "per image", "per megapixel")
    return [Table("False faces at the chosen threshold", header, rows)] if rows else []


def detection_table(figures: Iterable[DetectionFigures], min_overlap: float) -> Table:
    return Table(
        f"Detection at IoU {min_overlap:g}"
        " (by state, precision is a lower bound: false detections have none)",
        ("faces", "count", "recall", "precision", "average precision", "mean IoU"),
        [
            (
                row.size if row.state == ANY_STATE else f"{row.size}, {label_words(row.state)}",
                *(row.faces, row.recall, row.precision, row.average_precision, row.mean_iou),
            )
            for row in figures
        ],
    )


def precision_table(point: PrecisionPoint) -> Table:
    title = f"Recall at precision {point.precision}, {point.size}"
    if point.recall is None or point.threshold is None:
        return Table(f"{title}: not reached at any threshold", ("faces", "recall"), [])
    return Table(
        f"{title} (threshold of the last stage {point.threshold:.3f})",
        ("faces", "recall"),
        [(label_words(state), recall) for state, recall in point.recall.items()],
    )


def classification_table(summary: Summary, sizes: list[str]) -> Table:
    return Table(
        "Classification of the known boxes",
        (
            *("model, faces", "count", "balanced accuracy, binary", "of three classes", "AUC"),
            *("calibration error", "bare called incorrect"),
        ),
        [
            (
                *(f"{name}, {row.size}", row.faces, row.binary_balanced_accuracy),
                *(row.balanced_accuracy, row.auc, row.calibration_error),
                row.bare_called_incorrect,
            )
            for name, model in summary.models.items()
            for row in model.classification
            if row.size in sizes
        ],
    )


def end_to_end_table(summary: Summary, sizes: list[str]) -> Table:
    rows = []
    for name, model in summary.models.items():
        for size in sizes:
            shares = [row.share for row in model.end_to_end if row.size == size]
            rows.append((f"{name}, {size}", *shares))
    return Table(
        "End to end: share of the faces with the right box and the right label",
        ("model, faces", *map(label_words, LABELS)),
        rows,
    )


def confusion_tables(summary: Summary) -> list[Table]:
    """The evaluation's table of counts by true and predicted label, per model."""
    return [
        Table(
            f"Confusion matrix of {name}, {row.size}, true label by row",
            ("", *map(label_words, LABELS)),
            [
                (label_words(label), *counts)
                for label, counts in zip(LABELS, row.confusion, strict=True)
            ],
        )
        for name, model in summary.models.items()
        for row in model.classification
        if row.size == HEADLINE
    ]


def label_words(label: str) -> str:
    """A label as words, for a table of the evaluation report."""
    return label.replace("_", " ")
