# SPDX-License-Identifier: Apache-2.0
"""The latency report: rows for JSON, tables for README and terminal, and the plot."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.latency_graph import Measurement
from benchmark.latency_measures import Frames, fairness, percentiles
from benchmark.reporting import table
from mask_detector_ros.result_messages import LATENCY_PARTS

ALL_PARTS = (*LATENCY_PARTS, "delivery")
GOALS = {"p50": 6.0, "p99": 15.0}
"""Goals for the latency without inference in milliseconds, at 640x480 and 30 Hz."""

Row = dict[str, Any]


def to_row(measurement: Measurement) -> Row:
    """Convert a latency measurement to its JSON record, in milliseconds."""
    streams = [_stream(frames) for frames in measurement.streams]
    return {
        "rate": measurement.rate,
        "cpu": measurement.cpu,
        "fairness": fairness([len(frames.stamps) for frames in measurement.streams]),
        "streams": streams,
    }


def _stream(frames: Frames) -> Row:
    return {
        "published": frames.published,
        "lost": frames.lost,
        "received_rate": frames.received_rate,
        "total": percentiles(frames.total),
        "without_inference": percentiles(frames.without_inference),
        "parts": {name: percentiles(values) for name, values in frames.parts.items()},
        "drift": frames.drift()._asdict(),
    }


def rates_table(rows: Sequence[Row]) -> str:
    """Report table of the latency and its parts by rate, p50 / p99, and of the goal."""
    head = ("images", "node", "Hz", "lost", "total", "less inference", *ALL_PARTS, "CPU")
    lines = []
    for row in rows:
        stream = row["streams"][0]
        parts = [_pair(stream["parts"].get(name)) for name in ALL_PARTS]
        cpu = f"{row['cpu']['node']:.0%}"
        totals = (_pair(stream["total"]), _pair(stream["without_inference"]))
        size = "x".join(map(str, row["size"]))
        lines.append((size, row["subject"], _hz(row), _lost(stream), *totals, *parts, cpu))
        if (row["subject"], tuple(row["size"]), row["asked"]) == ("detector", (640, 480), "30"):
            goal = stream
    text = f"Milliseconds, p50 / p99\n\n{table(head, lines)}"
    values = ", ".join(
        f"{name} {goal['without_inference'][name]:.1f} ms (goal {limit:g})"
        for name, limit in GOALS.items()
    )
    return f"{text}\n\n640x480 at 30 Hz less inference: {values}, {goal['lost']} frames lost"


def overload_table(rows: Sequence[Row]) -> str:
    """Report table of the latency under overload."""
    head = (
        "Hz", "min face", "processed Hz", "lost", "total",
        "p50 of the first third", "of the last", "slope, ms per minute",
    )  # fmt: skip
    lines = []
    for row in rows:
        s = row["streams"][0]
        lines.append((
            f"{row['rate']:.0f}", row["min_face_size"], f"{s['received_rate']:.1f}", _lost(s),
            _pair(s["total"]), f"{s['drift']['first']:.1f}", f"{s['drift']['last']:.1f}",
            f"{s['drift']['slope']:+.0f} ± {2 * s['drift']['error']:.0f}",
        ))  # fmt: skip
    return table(head, lines)


def cameras_table(rows: Sequence[Row]) -> str:
    """Report table of the rate and latency of each camera, and of their fairness."""
    head = ("cameras", "way", "Hz asked", "Hz of each", "fairness", "total of each", "CPU")
    lines = []
    for row in rows:
        rates = ", ".join(f"{s['received_rate']:.1f}" for s in row["streams"])
        totals = ", ".join(_pair(s["total"]) for s in row["streams"])
        nodes = sum(share for name, share in row["cpu"].items() if name.startswith("node"))
        cells = (f"{row['asked']:g}", rates, f"{row['fairness']:.2f}", totals, f"{nodes:.0%}")
        lines.append((row["cameras"], row["way"], *cells))
    return table(head, lines)


TABLES: dict[str, Callable[[Sequence[Row]], str]] = {
    "rates": rates_table,
    "overload": overload_table,
    "cameras": cameras_table,
}


def plot(rows: Sequence[Row]) -> str:
    """Plot the detector's latency parts by rate as SVG: p50 (dot), p90 (ring) and p99 (end of the
    bar).

    Needs matplotlib.
    """
    from matplotlib.figure import Figure

    shown = [row for row in rows if row["subject"] == "detector"]
    sizes = sorted({tuple(row["size"]) for row in shown})
    columns = max(sum(tuple(row["size"]) == size for row in shown) for size in sizes)
    figure = Figure(figsize=(2.6 * columns + 1, 2.4 * len(sizes) + 0.4), layout="constrained")
    grid = figure.subplots(len(sizes), columns, sharex=True, sharey=True, squeeze=False)
    names = ("total", *ALL_PARTS)
    for line, size in zip(grid, sizes, strict=True):
        own = [row for row in shown if tuple(row["size"]) == size]
        for axes, row in zip(line, own, strict=False):
            stream = row["streams"][0]
            for y, name in enumerate(reversed(names)):
                values = stream["total"] if name == "total" else stream["parts"].get(name)
                if values is None:
                    continue
                (bar,) = axes.plot([values["p50"], values["p99"]], [y, y], linewidth=3, alpha=0.5)
                axes.plot(values["p50"], y, "o", color=bar.get_color())
                axes.plot(values["p90"], y, "o", color=bar.get_color(), fillstyle="none")
            axes.set_xscale("log")
            axes.set_yticks(range(len(names)), reversed(names))
            axes.grid(axis="x", alpha=0.3)
            axes.set_title(f"{size[0]}x{size[1]}, {_hz(row, ' Hz')}", fontsize=9)
        for axes in line[len(own) :]:
            axes.set_axis_off()
    figure.supxlabel("ms: p50 (dot), p90 (ring), p99 (end of the bar)", fontsize=9)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _pair(values: dict[str, float] | None) -> str:
    return "" if values is None else f"{values['p50']:.1f} / {values['p99']:.1f}"


def _hz(row: Row, unit: str = "") -> str:
    """The requested rate, or the rate found by search with its criterion."""
    if row["asked"].isdigit():
        return f"{row['asked']}{unit}"
    return f"{row['rate']:.1f}{unit} ({row['asked']})"


def _lost(stream: Row) -> str:
    return f"{stream['lost']} of {stream['published']}"
