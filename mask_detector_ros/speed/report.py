# SPDX-License-Identifier: Apache-2.0
"""Turn times into the speed report: rows, a summary, and fitted lines."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.speed.arithmetic_floor import MATRIX_MACS, FloorCounter
from mask_detector_ros.speed.benchmark_frames import Source, source_of
from mask_detector_ros.speed.case_subjects import Run
from mask_detector_ros.speed.cases import DETECT, LABEL, Case
from mask_detector_ros.speed.report_measures import (
    agreement,
    fit_line,
    ratio,
    ratio_quartiles,
    spread,
)
from mask_detector_ros.speed.subjects.detectors import FACTOR, THRESHOLDS
from mask_detector_ros.speed.timing import Times, Timings

Row = dict[str, Any]
"""Figures by name, as in the JSON report."""


def count_macs(
    runs: Iterable[Run], frames: Mapping[Source, Sequence[NDArray[np.uint8]]]
) -> dict[Case, list[int]]:
    """Count for the speed report the multiply-adds of the public cascade for every frame of the
    detection cases."""
    counter = FloorCounter(FACTOR, THRESHOLDS)
    known: dict[tuple[Source, int], list[int]] = {}
    macs: dict[Case, list[int]] = {}
    for case, _ in runs:
        if case.job == DETECT:
            key = source_of(case), case.min_face_size
            if key not in known:
                known[key] = [counter.macs(image, case.min_face_size) for image in frames[key[0]]]
            macs[case] = known[key]
    return macs


def build_rows(runs: Iterable[Run], timings: Timings, macs: Mapping[Case, list[int]]) -> list[Row]:
    """Build the rows of the speed report, one per case and subject. Ratios are theirs over ours:
    above 1, ours is faster."""
    rows = []
    for case, subjects in runs:
        present = [e for e in subjects if (case, e.name) in timings.times]
        if not present:
            continue
        reference = timings.times[case, present[0].name]
        for subject in present:
            times = timings.times[case, subject.name]
            wall = times.seconds()
            row: Row = {
                "job": case.job,
                "size": case.size and list(case.size),
                "faces": case.faces,
                "min_face_size": case.min_face_size,
                "threads": case.threads,
                "room": case.room,
                "name": subject.name,
                "is_reference": subject.is_reference,
                "wall_ms": spread(wall),
                "cpu_ms": spread(times.seconds(clock=1)),
                "frame_ms": (1e3 * np.median(wall, axis=0)).tolist(),
                "frame_cpu_ms": (1e3 * np.median(times.seconds(clock=1), axis=0)).tolist(),
                "found": sum(map(len, times.boxes)) / len(times.boxes),
                "agreement": agreement(reference.boxes, times.boxes),
                "ratio_to": {
                    other.name: compare(timings.times[case, other.name], times)
                    for other in present
                    if other.is_reference and other is not subject
                },
            }
            if case in macs:
                floor = np.array(macs[case]) / peak(timings, case)
                row["floor_ms"] = 1e3 * float(np.median(floor))
                row["over_floor"] = ratio(floor[None], times.seconds(clock=1))
            rows.append(row)
    return rows


def compare(ours: Times, theirs: Times) -> list[float]:
    """Compare their time with ours for the speed report: by wall clock, with quartiles over rounds,
    and by processor time."""
    wall = ours.seconds(), theirs.seconds()
    cpu = ours.seconds(clock=1), theirs.seconds(clock=1)
    return [ratio(*wall), *ratio_quartiles(*wall), ratio(*cpu)]


def peak(timings: Timings, case: Case) -> float:
    """The machine's peak for the speed report: multiply-adds per second of the matrix product,
    between the frames of a case.

    By processor time, like everything compared with the floor: load does not affect it.
    """
    return MATRIX_MACS / float(np.median(timings.peak[case].seconds(clock=1)))


def fit_cost_lines(rows: Sequence[Row]) -> list[Row]:
    """Fit for the speed report our time against faces and against pixels where there are three or
    more values."""
    kinds: tuple[tuple[str, Callable[[Row], float], tuple[str, ...]], ...] = (
        ("faces", lambda row: float(row["faces"]), ("size", "min_face_size", "threads", "room")),
        ("megapixels", megapixels, ("faces", "min_face_size", "threads", "room")),
    )
    lines = []
    for axis, x_of, fixed in kinds:
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            if row["is_reference"] and row["job"] == LABEL and row["size"]:
                key = (row["name"], *(str(row[name]) for name in fixed))
                groups.setdefault(key, []).append(row)
        for group in groups.values():
            if len({x_of(row) for row in group}) >= 3:
                x = [x_of(row) for row in group for _ in row["frame_ms"]]
                y, cpu = (
                    [ms for row in group for ms in row[name]]
                    for name in ("frame_ms", "frame_cpu_ms")
                )
                slope, intercept, r2 = fit_line(x, y)
                lines.append(
                    {
                        "against": axis,
                        **{name: group[0][name] for name in ("name", *fixed)},
                        **{"slope_ms": slope, "intercept_ms": intercept, "r2": r2},
                        "slope_cpu_ms": fit_line(x, cpu)[0],
                        **{"x": x, "ms": y},
                    }
                )
    return lines


def megapixels(row: Row) -> float:
    """Megapixels of the frames of a speed report's row."""
    width, height = row["size"]
    return float(width * height / 1e6)


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Summarise the speed report: each subject per job and number of threads over the cases with
    peers, as geometric means of the ratios to ours and to the floor."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    contested = {case_of(row) for row in rows if not row["is_reference"]}
    for row in rows:
        if case_of(row) in contested:
            groups.setdefault((row["job"], row["threads"], row["name"]), []).append(row)
    return [
        {
            "job": job,
            "threads": threads,
            "name": name,
            "cases": len(group),
            "ratio_to": {
                ours: geometric_mean([row["ratio_to"][ours] for row in group])
                for ours in group[0]["ratio_to"]
            },
            "over_floor": geometric_mean([[row["over_floor"]] for row in group])[0]
            if job == DETECT
            else None,
        }
        for (job, threads, name), group in groups.items()
    ]


def case_of(row: Row) -> tuple[str, ...]:
    """Key shared by the speed report's rows of a case."""
    names = ("job", "size", "faces", "min_face_size", "threads", "room")
    return tuple(str(row[name]) for name in names)


def geometric_mean(values: Sequence[Sequence[float]]) -> list[float]:
    """Geometric mean over the first axis, for the speed report."""
    means: list[float] = np.exp(np.log(np.array(values)).mean(axis=0)).tolist()
    return means
