# SPDX-License-Identifier: Apache-2.0
"""Rows, fitted lines and tables computed from times."""

import numpy as np
import pytest

from mask_detector_ros.speed.arithmetic_floor import MATRIX_MACS
from mask_detector_ros.speed.case_subjects import PEERS, four_way, ours
from mask_detector_ros.speed.cases import DETECT, LABEL, Case
from mask_detector_ros.speed.report import build_rows, fit_cost_lines, peak, summarise
from mask_detector_ros.speed.text_tables import build_tables, four_way_table, thread_table
from mask_detector_ros.speed.timing import Times, Timings

OURS, OTHER = ours(DETECT, "onnxruntime"), PEERS["facenet-pytorch"][DETECT]
BOX = np.array([[10.0, 10, 50, 60]])


def times(seconds, rounds=3, frames=2, cpu=None, boxes=BOX):
    call = (seconds, seconds if cpu is None else cpu)
    return Times([[call] * frames for _ in range(rounds)], [boxes] * frames)


def race_of(case, **seconds):
    timings = Timings(peak={case: times(0.02)})
    timings.times = {(case, name): times(value) for name, value in seconds.items()}
    return timings


def test_a_row_holds_ratio_floor_and_agreement():
    case = Case(DETECT, (640, 480), 6, 40, peers=True)
    timings = race_of(case, **{OURS.name: 0.01, OTHER.name: 0.04})
    mine, theirs = build_rows([(case, (OURS, OTHER))], timings, {case: [MATRIX_MACS // 4] * 2})
    assert theirs["ratio_to"][OURS.name] == pytest.approx([4, 4, 4, 4])
    assert mine["ratio_to"] == {}
    # The peak makes a quarter of the matrix product in 5 ms; ours took 10.
    assert mine["floor_ms"] == pytest.approx(5)
    assert mine["over_floor"] == pytest.approx(2)
    assert theirs["over_floor"] == pytest.approx(8)
    assert theirs["agreement"] == 1
    assert mine["wall_ms"] == pytest.approx((10, 10, 10))
    assert peak(timings, case) == pytest.approx(MATRIX_MACS / 0.02)


def test_the_summary_is_the_geometric_mean_over_contested_cases():
    cases = [Case(DETECT, (640, 480), 6, size, peers=True) for size in (20, 40)]
    alone = Case(DETECT, (320, 240), 6, 40)
    timings = Timings(peak={case: times(0.02) for case in (*cases, alone)})
    for case, factor in zip(cases, (2, 8), strict=True):
        timings.times[case, OURS.name] = times(0.01)
        timings.times[case, OTHER.name] = times(0.01 * factor)
    timings.times[alone, OURS.name] = times(5.0)
    runs = [(case, (OURS, OTHER)) for case in cases] + [(alone, (OURS,))]
    macs = {case: [MATRIX_MACS] * 2 for case in (*cases, alone)}
    mine, theirs = summarise(build_rows(runs, timings, macs))
    assert theirs["ratio_to"][OURS.name] == pytest.approx([4] * 4)
    assert (mine["cases"], theirs["cases"]) == (2, 2)
    assert mine["over_floor"] == pytest.approx(0.5)


def test_cost_against_faces_is_a_line_with_its_slope():
    subject = ours(LABEL, "openvino")
    timings, runs = Timings(), []
    for faces in (0, 1, 6, 20):
        case = Case(LABEL, (1280, 720), faces, 40, room=50)
        timings.times[case, subject.name] = times(0.010 + 0.0015 * faces)
        runs.append((case, (subject,)))
    rows = build_rows(runs, timings, {})
    (line,) = fit_cost_lines(rows)
    assert (line["against"], line["name"]) == ("faces", subject.name)
    assert line["slope_ms"] == pytest.approx(1.5)
    assert line["slope_cpu_ms"] == pytest.approx(1.5)
    assert line["intercept_ms"] == pytest.approx(10)
    assert line["r2"] == pytest.approx(1)
    text = "\n".join(table.to_text() for table in build_tables(rows, [line]))
    assert "1.50 ms per face" in text


def test_two_points_are_no_line_and_cases_laid_out_differently_do_not_mix():
    subject = ours(LABEL, "openvino")
    timings, runs = Timings(), []
    for faces, room in ((0, 50), (1, 50), (6, 20)):
        case = Case(LABEL, (1280, 720), faces, 40, room=room)
        timings.times[case, subject.name] = times(0.01)
        runs.append((case, (subject,)))
    assert fit_cost_lines(build_rows(runs, timings, {})) == []


def test_threads_are_compared_in_the_same_case():
    subject = ours(LABEL, "openvino")
    timings, runs = Timings(), []
    for threads, seconds in ((1, 0.03), (2, 0.02)):
        case = Case(LABEL, (1280, 720), 6, 40, threads)
        timings.times[case, subject.name] = times(seconds)
        runs.append((case, (subject,)))
    (row,) = thread_table(build_rows(runs, timings, {})).rows
    assert row[2:] == ("30.0", "20.0", "1.50")


def test_variants_that_were_not_measured_stay_in_the_table():
    case = Case(LABEL, (640, 480), 6, 40)
    runs = four_way(case, ["onnxruntime"])
    vanilla, half = runs[0][1][:2]
    timings = race_of(case, **{vanilla.name: 0.4, half.name: 0.1})
    timings.absent = {"on TensorRT": "needs a GPU: there is none"}
    table = four_way_table(build_rows(runs, timings, {}), timings.absent)
    assert [row[1].split()[0] for row in table.rows] == ["1", "4.00", "not"]
    assert table.rows[-1][1] == "not measured: needs a GPU"
