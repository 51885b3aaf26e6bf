# SPDX-License-Identifier: Apache-2.0
"""Tiny data sets, drawn for the tests."""

import csv

import cv2
import numpy as np
import pytest

from mask_detector_ros.evaluation.predictions import Predictions

HEADER = ("file", "xmin", "ymin", "xmax", "ymax", "label", "source", "split", "suspect")


@pytest.fixture
def write_set(tmp_path):
    """Writes a data set of rows (file, xmin, ymin, xmax, ymax, label) in the split val.

    Each file becomes a gray image of 100x80 pixels unless it is named in `without_image`.
    """

    def write(*rows, split="val", without_image=()):
        folder = tmp_path / "set"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        with (folder / "labels.csv").open("a", newline="") as file:
            writer = csv.writer(file)
            if not file.tell():
                writer.writerow(HEADER)
            writer.writerows([*row, "drawn", split, 0] for row in rows)
        for name in {row[0] for row in rows} - set(without_image):
            cv2.imwrite(str(folder / "images" / name), np.full((80, 100, 3), 128, np.uint8))
        return folder

    return write


def voc_annotation(file, *objects):
    """The text of a PASCAL VOC file; objects are (label, xmin, ymin, xmax, ymax)."""
    parts = [
        f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, x1, y1, x2, y2 in objects
    ]
    return f"<annotation><filename>{file}</filename>{''.join(parts)}</annotation>"


@pytest.fixture
def write_voc(tmp_path):
    """Writes a data set in the PASCAL VOC layout: name=(objects) each."""

    def write(**annotations):
        folder = tmp_path / "voc"
        for sub in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        for name, objects in annotations.items():
            text = voc_annotation(f"{name}.png", *objects)
            (folder / "Annotations" / f"{name}.xml").write_text(text)
            gray = np.full((80, 100, 3), 128, np.uint8)
            cv2.imwrite(str(folder / "JPEGImages" / f"{name}.png"), gray)
        return folder

    return write


@pytest.fixture
def predictions(tmp_path):
    """Two photographs and a cut-out face, with one of each thing that can happen.

    Known: masked 40 px found and labelled right; bare 60 px found and labelled wrong; masked
    20 px missed; badly worn 100 px that only a detection below the threshold finds; masked
    cut-out face. Found beside them: one false detection of 30 px, score 0.8.
    """
    paths = tuple(tmp_path / name for name in ("a.png", "b.png", "cut.png"))
    for path in paths:
        cv2.imwrite(str(path), np.full((200, 200, 3), 128, np.uint8))

    def square(x, y, side):
        return [x, y, x + side, y + side]

    mask, bare, badly = np.eye(3, dtype=np.float32) * 0.7 + 0.1
    truth = [square(0, 0, 40), square(50, 50, 60), square(150, 0, 20), square(0, 80, 100)]
    return Predictions(
        paths=paths,
        threshold=0.7,
        truth_boxes=np.array([*truth, square(0, 0, 200)], np.float32),
        truth_images=np.array([0, 0, 0, 1, 2]),
        truth_labels=np.array([0, 1, 0, 2, 0]),
        for_detection=np.array([True, True, True, True, False]),
        boxes=np.array([truth[0], truth[1], truth[3], square(80, 160, 30)], np.float32),
        scores=np.array([0.9, 0.95, 0.4, 0.8], np.float32),
        images=np.array([0, 0, 1, 1]),
        matches=np.array([0, 1, 3, -1]),
        overlaps=np.array([1, 0.8, 1, 0], np.float32),
        crop_probabilities={"net": np.stack([mask, mask, mask, badly, mask])},
        probabilities={"net": np.stack([mask, mask, badly, bare])},
    )
