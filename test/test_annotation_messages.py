# SPDX-License-Identifier: Apache-2.0
"""The annotations that a viewer draws over an image."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mask_detector_ros.annotation_messages import LINE_LOOP, POINTS, AnnotationMessages
from mask_detector_ros.faces import Faces

LABELS = ("with_mask", "without_mask")
HEADER = SimpleNamespace(stamp="the stamp of the image", frame_id="camera")


def make(kind: str, /, **fields: Any) -> SimpleNamespace:
    return SimpleNamespace(kind=kind.split("/")[-1], **fields)


def annotations(size: tuple[int, int] = (640, 480), **changes: Any) -> Any:
    values = {
        "boxes": [[10, 20, 50, 80], [100.5, 7, 130.5, 47]],
        "scores": [0.99, 0.75],
        "landmarks": np.arange(20).reshape(2, 5, 2),
        "probabilities": [[0.25, 0.75], [0.5, 0.5]],
        "label_names": LABELS,
        "track_ids": [7, 12],
    }
    faces = Faces(**{**values, **changes})
    return AnnotationMessages(make).annotations(faces, HEADER, size)


def xy(points: list[Any]) -> list[tuple[float, float]]:
    return [(p.x, p.y) for p in points]


def test_a_face_is_a_box_five_dots_and_a_text() -> None:
    drawn = annotations()
    box, dots = drawn.points[:2]
    assert (box.type, dots.type) == (LINE_LOOP, POINTS)
    assert xy(box.points) == [(10, 20), (50, 20), (50, 80), (10, 80)]
    assert xy(dots.points) == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert [t.text for t in drawn.texts] == ["#7 without mask 75%", "#12 with mask 50%"]
    assert xy([t.position for t in drawn.texts]) == [(10, 20), (100.5, 7)]
    assert drawn.circles == []


def test_everything_has_the_stamp_of_the_image_and_the_colour_of_its_label() -> None:
    drawn = annotations()
    assert {m.timestamp for m in (*drawn.points, *drawn.texts)} == {HEADER.stamp}
    red, green = drawn.points[0].outline_color, drawn.points[2].outline_color
    assert red.r > red.g
    assert green.g > green.r
    assert drawn.texts[0].background_color == red
    assert drawn.points[0].fill_color.a == 0


def test_lines_and_letters_grow_with_the_image() -> None:
    small, large = annotations((640, 480)), annotations((3840, 2160))
    assert large.points[0].thickness == pytest.approx(4.5 * small.points[0].thickness)
    assert large.texts[0].font_size == pytest.approx(4.5 * small.texts[0].font_size)


def test_what_is_not_finite_is_left_out() -> None:
    landmarks = np.arange(20.0).reshape(2, 5, 2)
    landmarks[0] = np.nan
    boxes = [[10, 20, 50, 80], [np.inf, 7, 130.5, 47]]
    drawn = annotations(boxes=boxes, landmarks=landmarks)
    assert [p.type for p in drawn.points] == [LINE_LOOP]
    assert len(drawn.texts) == 1


def test_no_faces_clear_what_was_drawn() -> None:
    drawn = AnnotationMessages(make).annotations(Faces.empty(LABELS), HEADER, (640, 480))
    assert (drawn.points, drawn.texts) == ([], [])
