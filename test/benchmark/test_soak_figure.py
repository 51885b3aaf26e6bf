# SPDX-License-Identifier: Apache-2.0
"""The figure of a soak test."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from benchmark.soak import Sample
from benchmark.soak_figure import main


def test_the_figure_has_a_line_for_each_report(tmp_path: Path) -> None:
    samples = [asdict(Sample(60.0 * i, 100 * i, 300.0, 18, 18, 200.0)) for i in range(5)]
    for name in ("onnxruntime", "openvino"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"rounds": samples}))
    out = tmp_path / "figure.svg"
    reports = [str(tmp_path / f"{name}.json") for name in ("onnxruntime", "openvino")]
    assert main([*reports, "-o", str(out)]) == 0
    drawn = out.read_text(encoding="utf-8")
    for words in ("onnxruntime, at work", "openvino, without models", "Threads", "Open files"):
        assert words in drawn
