# SPDX-License-Identifier: Apache-2.0
"""Plots of cost against faces and pixels, as SVG text. Needs matplotlib."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mask_detector_ros.evaluation.plots import finish, new_figure

_UNITS = {"faces": "ms per face", "megapixels": "ms per megapixel"}


def draw_cost_plots(lines: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Draw one plot per quantity that the cost was measured against: SVG by name."""
    return {
        f"cost_by_{axis}": plot_cost([line for line in lines if line["against"] == axis], axis)
        for axis in _UNITS
        if any(line["against"] == axis for line in lines)
    }


def plot_cost(lines: Sequence[dict[str, Any]], axis: str) -> str:
    """Plot the cost: the median times of all frames, and the fitted lines with their slopes."""
    figure, (axes,) = new_figure(1)
    for line in lines:
        kind = f"{line['name']}, min face {line['min_face_size']}"
        if axis == "faces":
            kind += ", " + "x".join(map(str, line["size"]))
        else:
            kind += f", {line['faces']} faces"
        if line["threads"] > 1:
            kind += f", {line['threads']} threads"
        points = axes.plot(line["x"], line["ms"], "o", markersize=4, alpha=0.6)
        ends = np.array([0, max(line["x"])])
        fitted = line["intercept_ms"] + line["slope_ms"] * ends
        label = f"{kind}: {line['slope_ms']:.2f} {_UNITS[axis]}, R² {line['r2']:.3f}"
        axes.plot(ends, fitted, color=points[0].get_color(), label=label)
    axes.set(xlabel=f"{axis} in the frame", ylabel="ms per frame", xlim=(0, None), ylim=(0, None))
    title = "Detection and labels, ours; lines by least squares"
    return finish(figure, axes, title, loc="upper left", fontsize="small")
