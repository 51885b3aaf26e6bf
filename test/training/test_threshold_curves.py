# SPDX-License-Identifier: Apache-2.0
"""Cost and recall of the first thresholds."""

import csv
import shutil
from pathlib import Path

import cv2
import pytest

from mask_detector_ros.sources.sample_scene import SampleScene
from training import threshold_curves

MODELS = Path(threshold_curves.__file__).parents[1] / "models"
THREE = ("--detector-model", "mtcnn_masked")


@pytest.fixture
def folder(tmp_path):
    """A frame of the sample scene with its ground truth."""
    (tmp_path / "images").mkdir()
    image, truth = SampleScene(640, 480).render(0)
    cv2.imwrite(str(tmp_path / "images" / "0.png"), image)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "xmin", "ymin", "xmax", "ymax", "label"))
        for box, label in zip(truth.boxes.tolist(), truth.labels, strict=True):
            writer.writerow(["0.png", *box, label])
    return tmp_path


def test_higher_thresholds_leave_fewer_crops_to_the_next_stage(folder, capsys):
    assert threshold_curves.main([str(folder), *THREE, "--proposal", "0.6", "0.9"]) == 0
    rows = [list(map(float, line.split())) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[2:4] for row in rows] == [[p, r] for p in (0.6, 0.9) for r in (0.6, 0.7, 0.8)]
    of_rnet, of_onet = ([row[column] for row in rows] for column in (0, 1))
    assert of_rnet[0] > of_rnet[3] > 0
    assert of_onet[0] >= of_onet[1] >= of_onet[2] > 0
    assert all(0 <= recall <= 1 for row in rows for recall in row[5:])


def test_suppression_before_boxes_move_leaves_more_crops(folder, capsys):
    options = [str(folder), *THREE, "--proposal", "0.6", "--refinement", "0.7"]
    crops = {}
    for order in ("moved", "paper"):
        assert threshold_curves.main([*options, "--suppression", order]) == 0
        row = capsys.readouterr().out.splitlines()[1].split()
        crops[order] = [float(number) for number in row[:2]]
    assert crops["paper"][0] > crops["moved"][0]
    assert crops["paper"][1] > crops["moved"][1]


@pytest.mark.parametrize("arguments", [["nowhere"], ["."]])
def test_a_folder_without_labels_is_one_line(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert threshold_curves.main(arguments) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_two_stage_cascade_has_one_threshold_before_the_last(folder, tmp_path, capsys):
    networks = tmp_path / "networks"
    networks.mkdir()
    for name in ("proposal.onnx", "decision.onnx"):
        shutil.copy(MODELS / name, networks)
    options = [str(folder), "--detector-model", str(networks), "--proposal", "0.4", "0.8"]
    assert threshold_curves.main(options) == 0
    rows = [list(map(float, line.split())) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[1] for row in rows] == [0.4, 0.8]
    assert rows[0][0] > rows[1][0] > 0


def test_the_default_has_no_such_choice(folder, capsys):
    assert threshold_curves.main([str(folder), "--suppression", "paper"]) == 2
    assert "is for detectors of three stages" in capsys.readouterr().err
