# SPDX-License-Identifier: Apache-2.0
"""The latency measurement on a real graph: every image has a result, and the parts add up."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from benchmark.latency_graph import LatencyGraph
from benchmark.latency_report import TABLES, plot, to_row
from benchmark.node_latency import main
from benchmark.processes import cpu_seconds
from mask_detector_ros.result_messages import LATENCY_PARTS
from mask_detector_ros.ros.demo.graph import graph_environment

SIZE = (160, 120)


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in {**graph_environment(), "ROS_LOG_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    graphs = []

    def make(*cameras: str) -> LatencyGraph:
        graphs.append(LatencyGraph(tmp_path, SIZE, cameras or ("",)))
        return graphs[-1]

    yield make
    for started in graphs:
        started.close()


def test_of_two_cameras_each_image_is_followed_to_its_detections(graph) -> None:
    cameras = graph("left", "right")
    cameras.add_detector(cameras="left,right", min_face_size=60, threads=1)
    cameras.settle()
    measurement = cameras.measure(rate=5, seconds=2)
    assert set(measurement.cpu) == {"camera left", "camera right", "node", "watcher"}
    assert measurement.cpu["node"] > 0
    for frames in measurement.streams:
        assert 0 < len(frames.stamps) <= frames.published <= 10
        assert tuple(frames.parts) == (*LATENCY_PARTS, "delivery")
        np.testing.assert_allclose(sum(frames.parts.values()), frames.total)
        assert all((frames.parts[name] >= 0).all() for name in LATENCY_PARTS[1:])
        assert (frames.parts["inference"] < frames.total).all()
    row = to_row(measurement)
    table = TABLES["cameras"]([{"cameras": 2, "way": "one process", "asked": 5.0, **row}])
    assert "| 2 | one process | 5 |" in table


def test_the_copying_node_gives_the_price_of_the_way(graph) -> None:
    single = graph()
    single.add_copy()
    single.settle()
    measurement = single.measure(rate=10, seconds=1)
    (frames,) = measurement.streams
    assert len(frames.stamps) > 0
    assert frames.parts == {}
    assert (frames.total > 0).all()


def test_rates_become_a_table_and_a_plot() -> None:
    values = {"p50": 1.0, "p90": 2.0, "p99": 3.0, "max": 4.0}
    stream = {
        "published": 9,
        "lost": 1,
        "total": values,
        "without_inference": values,
        "parts": dict.fromkeys((*LATENCY_PARTS, "delivery"), values),
    }
    shared = {"size": (640, 480), "rate": 29.9, "cpu": {"node": 0.5}}
    rows = [
        {**shared, "subject": "copy", "asked": "30", "streams": [{**stream, "parts": {}}]},
        {**shared, "subject": "detector", "asked": "30", "streams": [stream]},
        {**shared, "subject": "detector", "asked": "5 % lost", "streams": [stream]},
    ]
    table = TABLES["rates"](rows)
    assert "| 640x480 | detector | 30 | 1 of 9 | 1.0 / 3.0 |" in table
    assert "| 640x480 | detector | 29.9 (5 % lost) |" in table
    assert "p50 1.0 ms (goal 6), p99 3.0 ms (goal 15), 1 frames lost" in table
    picture = plot(rows)
    assert "640x480, 30 Hz" in picture
    assert "640x480, 29.9 Hz (5 % lost)" in picture


def test_processor_time_is_read_past_any_name() -> None:
    stat = "7 (a) b) R 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 100 1000 100"
    assert cpu_seconds(stat) == 200 / os.sysconf("SC_CLK_TCK")


def test_runs_too_short_to_say_anything_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seconds", "0.1"])
    assert "--seconds must be 0.5 or more" in capsys.readouterr().err
