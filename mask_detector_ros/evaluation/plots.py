# SPDX-License-Identifier: Apache-2.0
"""The evaluation's figures as plots, each as SVG text. Needs matplotlib."""

from __future__ import annotations

import io
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.evaluation.bootstrap import Estimate
from mask_detector_ros.evaluation.dataset import LABELS
from mask_detector_ros.evaluation.metrics import (
    CALIBRATION_BINS,
    calibration_bins,
    precision_recall,
    ratio,
)
from mask_detector_ros.evaluation.predictions import Predictions
from mask_detector_ros.evaluation.report_tables import label_words
from mask_detector_ros.evaluation.summary import HEADLINE, SIZES, Summary, detection_rows, in_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEPARATE_SIZES = [size for size in SIZES if size not in ("all sizes", HEADLINE)]

BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
"""The place of a legend beside the bars, not on them."""


def require_matplotlib() -> None:
    """Raise MaskDetectorError if matplotlib, which draws the plots, is not installed. Its files
    stay in the cache."""
    if find_spec("matplotlib") is None:
        raise MaskDetectorError(
            "the report needs matplotlib, which is not installed; do: "
            "pip install matplotlib, or leave out -o"
        )
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "matplotlib"
    if not config.is_dir():
        # It would make that folder, and nothing but its caches would be in it.
        cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "matplotlib"
        os.environ.setdefault("MPLCONFIGDIR", str(cache))


def draw_plots(predictions: Predictions, summary: Summary) -> dict[str, str]:
    """Draw all plots of an evaluation report: SVG by name."""
    return {
        "precision_recall": plot_precision_recall(predictions),
        "threshold": plot_threshold(predictions, summary),
        "recall": plot_recall(summary),
        "end_to_end": plot_end_to_end(summary),
        "confusion": plot_confusion(summary),
        "calibration": plot_calibration(predictions),
    }


def plot_precision_recall(predictions: Predictions) -> str:
    """Plot precision against recall by size, with a dot at the chosen threshold."""
    figure, (axes,) = new_figure(1)
    for size in [HEADLINE, *SEPARATE_SIZES]:
        thresholds, precision, recall = _curve(predictions, size, None)
        (line,) = axes.plot(recall, precision, label=size)
        accepted = np.flatnonzero(thresholds >= np.float32(predictions.threshold))
        if len(accepted):
            at = accepted[-1]
            axes.plot(recall[at], precision[at], "o", color=line.get_color())
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    return finish(figure, axes, "Detection by size; dot: the chosen threshold", loc="lower left")


def plot_threshold(predictions: Predictions, summary: Summary) -> str:
    """Plot precision, and recall by mask state, against the last stage's threshold."""
    figure, (axes,) = new_figure(1)
    thresholds, precision, _ = _curve(predictions, HEADLINE, None)
    axes.plot(thresholds, precision, "k--", label="precision")
    for state, label in enumerate(LABELS):
        thresholds, _, recall = _curve(predictions, HEADLINE, state)
        axes.plot(thresholds, recall, label=f"recall, {label_words(label)}")
    axes.axvline(predictions.threshold, color="gray", label="chosen")
    point = summary.at_precision
    if point.threshold is not None:
        label = f"precision {point.precision}"
        axes.axvline(point.threshold, color="gray", linestyle=":", label=label)
    axes.set(xlabel="threshold of the last stage", xlim=(0, 1), ylim=(0, 1.02))
    return finish(figure, axes, f"Detection, {HEADLINE}", loc="lower left")


def plot_recall(summary: Summary) -> str:
    """Plot recall by size and mask state, at the chosen threshold."""
    figure, (axes,) = new_figure(1)
    for number, label in enumerate(LABELS):
        rows = [
            row
            for size in SEPARATE_SIZES
            for row in summary.detection
            if (row.size, row.state) == (size, label)
        ]
        _bars(axes, number, len(LABELS), [row.recall for row in rows], label_words(label))
    axes.set_xticks(range(len(SEPARATE_SIZES)), SEPARATE_SIZES)
    axes.set(ylabel="recall", ylim=(0, 1.02))
    return finish(figure, axes, "Detection by size and mask state, 95 % intervals", **BESIDE)


def plot_end_to_end(summary: Summary) -> str:
    """Plot the share of faces with correct box and label, by label; one bar per model."""
    figure, (axes,) = new_figure(1)
    for number, (name, model) in enumerate(summary.models.items()):
        shares = [row.share for row in model.end_to_end if row.size == HEADLINE]
        _bars(axes, number, len(summary.models), shares, name)
    axes.set_xticks(range(len(LABELS)), [label_words(label) for label in LABELS])
    axes.set(ylabel="right box and right label", ylim=(0, 1.02))
    return finish(figure, axes, f"End to end, {HEADLINE}, 95 % intervals", **BESIDE)


def plot_confusion(summary: Summary) -> str:
    """Plot the share of each true label by predicted label; one panel per model."""
    figure, panels = new_figure(len(summary.models))
    for axes, (name, model) in zip(panels, summary.models.items(), strict=True):
        (counts,) = [np.array(r.confusion) for r in model.classification if r.size == HEADLINE]
        shares = ratio(counts.astype(float), np.repeat(counts.sum(axis=1)[:, None], 3, 1))
        axes.imshow(np.nan_to_num(shares), vmin=0, vmax=1, cmap="Blues")
        for (row, column), count in np.ndenumerate(counts):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade)
        names = [label_words(label).replace("mask worn", "mask worn\n") for label in LABELS]
        axes.set_xticks(range(len(LABELS)), names)
        axes.set_yticks(range(len(LABELS)), names)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title(f"{name}, {HEADLINE}")
    return to_svg(figure)


def plot_calibration(predictions: Predictions) -> str:
    """Plot accuracy against confidence on the known boxes; one line per model."""
    figure, (axes,) = new_figure(1)
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":")
    rows = in_range(predictions.truth_sides, HEADLINE)
    for name, probabilities in predictions.crop_probabilities.items():
        confidence = probabilities[rows].max(axis=1).astype(np.float64)
        correct = probabilities[rows].argmax(axis=1) == predictions.truth_labels[rows]
        bins = calibration_bins(confidence)
        counts = np.bincount(bins, minlength=CALIBRATION_BINS).astype(float)
        x = ratio(np.bincount(bins, confidence, CALIBRATION_BINS).astype(float), counts)
        y = ratio(np.bincount(bins, correct, CALIBRATION_BINS).astype(float), counts)
        (line,) = axes.plot(x, y, label=name)
        axes.scatter(x, y, s=4 + 2 * np.sqrt(counts), color=line.get_color())
    axes.set(xlabel="probability of the predicted label", ylabel="share that is right")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    return finish(
        figure, axes, f"Calibration, {HEADLINE}; larger dots: more faces", loc="upper left"
    )


def _curve(
    predictions: Predictions, size: str, state: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    truth, rows = detection_rows(predictions, size, state)
    positives = np.array([truth.sum()], float)
    thresholds, precision, recall = precision_recall(
        predictions.scores[rows],
        predictions.matches[rows] >= 0,
        np.ones((1, rows.sum())),
        positives,
    )
    return thresholds, precision[0], recall[0]


def _bars(axes: Axes, number: int, of: int, estimates: list[Estimate], label: str) -> None:
    """Draw one bar per group with its interval, as the `number`th of `of` adjacent bars."""
    width = 0.8 / of
    x = np.arange(len(estimates)) - 0.4 + (number + 0.5) * width
    y = np.nan_to_num([e.value for e in estimates])
    reach = np.nan_to_num([[e.value - e.low, e.high - e.value] for e in estimates]).T
    # A percentile interval may not contain the value itself.
    axes.bar(x, y, width, yerr=np.maximum(reach, 0), capsize=2, label=label)


def new_figure(panels: int) -> tuple[Figure, list[Axes]]:
    """Make a matplotlib figure with a row of panels, for a plot."""
    # Not pyplot: it would search for a display and keep every figure alive.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7 if panels == 1 else 4.5 * panels, 4.5), layout="constrained")
    return figure, [figure.add_subplot(1, panels, index + 1) for index in range(panels)]


def finish(figure: Figure, axes: Axes, title: str, **legend: Any) -> str:
    """Finish a plot: add the title and a legend; return it as SVG."""
    axes.set_title(title)
    axes.legend(**legend)
    return to_svg(figure)


def to_svg(figure: Figure) -> str:
    """Convert a matplotlib figure of a plot to reproducible SVG."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
