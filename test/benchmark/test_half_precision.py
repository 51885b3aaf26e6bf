# SPDX-License-Identifier: Apache-2.0
"""The comparison of float16 with float32: rounding, and its effect."""

import json

import cv2
import numpy as np
import pytest
from gpu_stand_in import network

from benchmark import half_precision
from benchmark.half_precision import round_values
from mask_detector_ros.inference import create_session


@pytest.fixture
def photographs(tmp_path, astronaut):
    """A data set of two portraits."""
    small = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    rows = ["file,xmin,ymin,xmax,ymax,label"]
    (tmp_path / "images").mkdir()
    for name, picture in (("one.png", small), ("two.png", small[:, ::-1])):
        cv2.imwrite(str(tmp_path / "images" / name), picture)
        rows.append(f"{name},90,30,140,90,without_mask")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def test_every_value_between_two_layers_is_rounded():
    half = half_precision._throughout(network(weight=255, width=3))
    x = np.float32([[1.0004, 2.001, 1000.3]])
    found = create_session(round_values(half), "x", threads=1).run(x=x)
    wanted = x.astype(np.float16)
    assert found["scaled"].tolist() == wanted.astype(np.float32).tolist()
    sums = (wanted + np.float16([0, 1, 2])).astype(np.float32)
    assert found["y"].tolist() == sums.tolist()


@pytest.mark.parametrize(
    ("detector", "networks", "last_stage"),
    [
        ("mtcnn_masked", {"pnet", "rnet", "onet", "classifier"}, "onet"),
        ("mtcnn_two_stage", {"proposal", "decision"}, "decision"),
    ],
)
def test_the_report_compares_and_traces(photographs, capsys, detector, networks, last_stage):
    options = (str(photographs), "--threads", "1", "--min-face-size", "40")
    assert half_precision.main([*options, "--detector-model", detector, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    built = report["rows"]["float16, as it is built"]
    assert (built["images"], built["missing"], built["extra"], built["labels"]) == (2, 0, 0, 0)
    assert built["faces"] >= 2
    assert built["box_px"]["100%"] == 0
    assert built["probability"]["100%"] <= 0.04
    labels = "classifier" if "classifier" in networks else last_stage
    assert 0 < report["same_input"][labels]["probabilities"] < 0.01
    half = report["rows"]["all networks in float16"]
    assert (half["missing"], half["extra"], half["labels"]) == (0, 0, 0)
    assert 0 < half["box_px"]["100%"] <= 1.5
    assert set(report["same_input"]) == networks
    assert 0 < report["same_input"][last_stage]["scores"] < 0.01
    assert report["outliers"] == []
    assert "| float16, as it is built | " in half_precision.describe(report)


def test_a_missing_data_set_is_one_line(tmp_path, capsys):
    assert half_precision.main([str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
