# SPDX-License-Identifier: Apache-2.0
"""The speed report's figures as text tables, ratios first."""

from collections.abc import Mapping, Sequence

import numpy as np

from mask_detector_ros.evaluation.report_tables import Table
from mask_detector_ros.speed.cases import DETECT, LABEL, PLACES
from mask_detector_ros.speed.report import Row, case_of, summarise

JOBS = {DETECT: "detection", LABEL: "detection and labels"}


def build_tables(rows: Sequence[Row], lines: Sequence[Row]) -> list[Table]:
    """Build all text tables of the speed report that have figures, ratios first."""
    tables = ratio_tables(summarise(rows))
    tables += [thread_table(rows), line_table(lines)]
    tables += [time_table(rows, job) for job in JOBS]
    return [table for table in tables if table.rows]


def ratio_tables(summary: Sequence[Row]) -> list[Table]:
    """Text tables of the ratios to our time; one per job and number of threads."""
    tables = []
    for job, threads in dict.fromkeys((row["job"], row["threads"]) for row in summary):
        group = [row for row in summary if (row["job"], row["threads"]) == (job, threads)]
        compared = {name for row in group for name in row["ratio_to"]}
        ours = [row["name"] for row in group if row["name"] in compared]
        header = ["how many times as long", *(f"as {name}" for name in ours)]
        header += ["over floor", "cases"] if job == DETECT else ["cases"]
        lines: list[tuple[object, ...]] = []
        for row in group:
            cells = [format_comparison(row["ratio_to"].get(name)) for name in ours]
            floor = [f"{row['over_floor']:.1f}"] if job == DETECT else []
            lines.append((row["name"], *cells, *floor, row["cases"]))
        title = (
            f"{JOBS[job]}, threads {threads}: geometric mean over the cases"
            " [quartiles over rounds], by processor time"
        )
        tables.append(Table(title, tuple(header), lines))
    return tables


def format_comparison(comparison: Sequence[float] | None) -> str:
    """Format the result of `compare` for a cell of a text table."""
    if comparison is None:
        return "1"
    value, low, high, cpu = comparison
    return f"{value:.2f} [{low:.2f}, {high:.2f}], {cpu:.2f}"


def time_table(rows: Sequence[Row], job: str) -> Table:
    """Text table of every case and subject of a job: times, faces, agreement, and the floor."""
    header = ("case", "subject", "median ms", "quartiles", "CPU ms", "found", "same boxes")
    has_floor = any("floor_ms" in row for row in rows if row["job"] == job)
    lines: list[tuple[str, ...]] = []
    for row in rows:
        if row["job"] != job:
            continue
        median, low, high = row["wall_ms"]
        cells = [
            describe_case(row),
            row["name"],
            f"{median:.1f}",
            f"{low:.1f} - {high:.1f}",
            f"{row['cpu_ms'][0]:.1f}",
            f"{row['found']:.1f}",
            f"{row['agreement']:.0%}",
        ]
        if has_floor:
            cells += [f"{row['floor_ms']:.1f}", f"{row['over_floor']:.1f}"]
        lines.append(tuple(cells))
    more = ("floor ms", "over floor") if has_floor else ()
    return Table(JOBS[job], header + more, lines)


def describe_case(row: Row) -> str:
    """Describe the frames and settings of a row, for a text table of the speed report."""
    if row["size"] is None:
        return f"own images, min {row['min_face_size']}, {row['threads']} thr."
    width, height = row["size"]
    faces, least, threads = row["faces"], row["min_face_size"], row["threads"]
    # More cells mean smaller faces.
    places = f" in {row['room']} places" if row["room"] != PLACES else ""
    return f"{width}x{height}, {faces} faces{places}, min {least}, {threads} thr."


def thread_table(rows: Sequence[Row]) -> Table:
    """Text table of the speed-up by threads: times of the same case with one and with more
    threads."""
    single = {(*case_of(row), row["name"]): row["wall_ms"][0] for row in rows}
    lines: list[tuple[str, ...]] = []
    for row in rows:
        one = single.get((*case_of({**row, "threads": 1}), row["name"]))
        if row["threads"] > 1 and one is not None:
            more = row["wall_ms"][0]
            cells = (row["name"], f"{one:.1f}", f"{more:.1f}", f"{one / more:.2f}")
            lines.append((f"{JOBS[row['job']]}, {describe_case(row)}", *cells))
    header = ("case", "subject", "ms, 1 thread", "ms", "times as fast")
    return Table("threads", header, lines)


def line_table(lines: Sequence[Row]) -> Table:
    """Text table of our cost against faces and against pixels."""
    rows: list[tuple[str, ...]] = []
    for line in lines:
        by_faces = line["against"] == "faces"
        frames = "x".join(map(str, line["size"])) if by_faces else f"{line['faces']} faces"
        rows.append(
            (
                f"{line['name']}, {frames}, min {line['min_face_size']}, {line['threads']} thr.",
                f"{line['slope_ms']:.2f} ms per {'face' if by_faces else 'megapixel'}",
                f"{line['slope_cpu_ms']:.2f}",
                f"{line['intercept_ms']:.1f}",
                f"{line['r2']:.3f}",
            )
        )
    header = ("ours, detection and labels", "slope", "by CPU", "ms at zero", "R²")
    return Table("cost by faces and by pixels: least squares", header, rows)


def four_way_table(rows: Sequence[Row], absent: Mapping[str, str]) -> Table:
    """Text table of the variants' speed relative to the vanilla one, and the variants not
    measured."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        median, low, high = row["wall_ms"]
        gain = "1" if row["is_reference"] else "-"
        for ratios in row["ratio_to"].values():
            value, most, least, cpu = 1 / np.array(ratios)
            gain = f"{value:.2f} [{least:.2f}, {most:.2f}], {cpu:.2f}"
        spans = (f"{median:.1f}", f"{low:.1f} - {high:.1f}", f"{row['found']:.1f}")
        lines.append((row["name"], gain, *spans))
    for name, reason in absent.items():
        lines.append((name, f"not measured: {reason.partition(':')[0]}", "", "", ""))
    header = ("variant", "times as fast, by processor time", "median ms", "quartiles", "found")
    return Table("detection and labels, " + describe_case(rows[0]), header, lines)
