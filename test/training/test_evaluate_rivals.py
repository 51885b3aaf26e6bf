# SPDX-License-Identifier: Apache-2.0
"""Rival detectors are decoded as their authors do, and compared with ours."""

import csv

import cv2
import numpy as np
import pytest
from constant_network import write_constants

from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.sources.sample_scene import SampleScene
from training import evaluate_rivals
from training.peer_detectors import Aizoo, Scrfd, UltraFace, YuNet

SETTINGS = DetectionSettings(20, 0.709, (0.5, 0.5, 0.5), 0)
POINTS = np.arange(10, dtype=np.float32)


@pytest.fixture
def network(tmp_path):
    """Write an ONNX file that gives constants for every image."""
    return lambda shape, **outputs: write_constants(tmp_path / "peer.onnx", shape, **outputs)


def lit(count, width, place, values):
    """(1, count, width) zeros with one row of values."""
    rows = np.zeros((1, count, width), np.float32)
    rows[0, place] = values
    return rows


def test_yunet_counts_from_the_cells_corner_and_multiplies_its_two_scores(network):
    cells = {8: 64, 16: 16, 32: 4}  # of an input of 64x64
    outputs = {}
    for stride, count in cells.items():
        score = 0.81 if stride == 16 else 0
        outputs[f"cls_{stride}"] = lit(count, 1, 1, score)
        outputs[f"obj_{stride}"] = lit(count, 1, 1, 1)
        outputs[f"bbox_{stride}"] = lit(count, 4, 1, [0.5, 0.25, np.log(2), 0])
        outputs[f"kps_{stride}"] = lit(count, 10, 1, POINTS)
    peer = YuNet(network(("n", 3, "h", "w"), **outputs), threads=1)
    faces = peer(np.zeros((60, 64, 3), np.uint8), SETTINGS)
    np.testing.assert_allclose(faces.boxes, [[8, -4, 40, 12]], atol=1e-4)
    np.testing.assert_allclose(faces.scores, [0.9], rtol=1e-6)
    np.testing.assert_allclose(faces.landmarks[0, 0], [16, 16])


def test_scrfd_gives_distances_from_two_anchors_a_cell_of_a_letterboxed_image(network):
    cells = {8: 128, 16: 32, 32: 8}
    scores = [lit(n, 1, 5, 0.7 if n == 32 else 0) for n in cells.values()]
    sides = [lit(n, 4, 5, [1, 2, 3, 4]) for n in cells.values()]
    points = [lit(n, 10, 5, POINTS) for n in cells.values()]
    outputs = {f"out{i}": value for i, value in enumerate([*scores, *sides, *points])}
    peer = Scrfd(network((1, 3, 64, 64), **outputs), threads=1)
    # Twice as large as the input: the fifth anchor is the second of the third cell of a row.
    faces = peer(np.zeros((64, 128, 3), np.uint8), SETTINGS)
    box = np.array([32 - 16, 0 - 32, 32 + 48, 0 + 64])
    np.testing.assert_allclose(faces.boxes, [2 * box])
    np.testing.assert_allclose(faces.landmarks[0, 0], [64, 32])


def test_ultraface_takes_the_better_of_its_two_kinds_of_face(network):
    scores = np.float32([[[0.9, 0.1, 0], [0.2, 0.3, 0.6]]])
    boxes = np.float32([[[0, 0, 1, 1], [0.25, 0.5, 0.5, 1]]])
    peer = UltraFace(network((1, 3, 48, 64), scores=scores, boxes=boxes), threads=1)
    faces = peer(np.zeros((100, 200, 3), np.uint8), SETTINGS)
    np.testing.assert_allclose(faces.boxes, [[50, 50, 100, 100]], rtol=1e-5)
    np.testing.assert_allclose(faces.scores, [0.6])


@pytest.mark.parametrize("shape", [(1, 3, 260, 260), (1, 260, 260, 3)])
def test_aizoo_has_5972_anchors_and_labels_of_its_own(network, shape):
    # The first anchor of the second level, whose cells are a seventeenth of the image wide.
    place = 33 * 33 * 4
    outputs = {
        "loc": lit(5972, 4, place, [0, 10, 0, 0]),
        "cls": lit(5972, 2, place, [0.2, 0.8]),
    }
    peer = Aizoo(network(shape, **outputs), threads=1)
    faces = peer(np.zeros((100, 100, 3), np.uint8), SETTINGS)
    centre = np.array([0.5 / 17, 0.5 / 17 + 10 * 0.1 * 0.08])
    low, high = centre - 0.04, centre + 0.04
    np.testing.assert_allclose(faces.boxes, [100 * np.hstack([low, high])], rtol=1e-4)
    assert faces.labels == ["without_mask"]


def test_the_table_has_ours_and_the_peer(network, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    image, truth = SampleScene(320, 240).render(0)
    cv2.imwrite(str(tmp_path / "images" / "0.png"), image)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "xmin", "ymin", "xmax", "ymax", "label"))
        for box, label in zip(truth.boxes.tolist(), truth.labels, strict=True):
            writer.writerow(["0.png", *box, label])
    boxes = truth.boxes / [320, 240, 320, 240]
    scores = np.tile(np.float32([0.1, 0.9]), (len(boxes), 1))
    path = network((1, 3, 48, 64), scores=scores[None], boxes=boxes[None].astype(np.float32))
    assert evaluate_rivals.main([str(tmp_path), "--ultraface", str(path)]) == 0
    title, header, ours, peer = capsys.readouterr().out.splitlines()
    assert "interleaved" in title
    assert header.startswith("detector")
    assert ours.startswith("mtcnn")
    assert peer.startswith("ultraface peer")
    assert "1.000 [1.000, 1.000]" in peer


def test_a_missing_file_or_folder_is_one_line(tmp_path, capsys):
    assert evaluate_rivals.main([str(tmp_path / "nowhere"), "--yunet", "y.onnx"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
