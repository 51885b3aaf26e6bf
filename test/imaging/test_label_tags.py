# SPDX-License-Identifier: Apache-2.0
"""Labels in crowds are readable and do not cover other faces."""

import numpy as np
import pytest

from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.annotate import LABEL_COLORS, annotate
from mask_detector_ros.imaging.label_tags import place_tags

TEXTS = ("mask worn incorrectly 97%", "97%")


def overlap(tag, box):
    width = min(tag[2], box[2]) - max(tag[0], box[0])
    height = min(tag[3], box[3]) - max(tag[1], box[1])
    return max(width, 0) * max(height, 0)


def crowd(rows, columns, side, pitch, offset=40):
    """Boxes of a group photograph, row above row."""
    y, x = np.mgrid[:rows, :columns] * pitch + offset
    corners = np.stack([x, y, x + side, y + side], axis=-1)
    return corners.reshape(-1, 4).astype(np.int64)


def covered_share(boxes, tags):
    """The fraction of the faces' area that tags of other faces cover."""
    covered = sum(
        overlap(tag.box, box) for i, tag in enumerate(tags) for j, box in enumerate(boxes) if i != j
    )
    return covered / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum()


@pytest.mark.parametrize(
    ("pitch", "allowed"), [(1.8, 0.0), (1.5, 0.01), (1.25, 0.12)], ids=["loose", "rows", "packed"]
)
def test_tags_leave_the_neighbours_in_a_crowd_of_a_hundred_uncovered(pitch, allowed):
    boxes = crowd(10, 12, 80, round(80 * pitch))
    size = (int(boxes[:, 3].max()) + 40, int(boxes[:, 2].max()) + 40)
    unit = max(min(size) / 480, 0.8)
    tags = place_tags(boxes, [TEXTS] * len(boxes), size, unit)
    assert covered_share(boxes, tags) <= allowed
    assert all(0 <= tag.box[0] <= tag.box[2] <= size[1] for tag in tags)
    assert all(0 <= tag.box[1] <= tag.box[3] <= size[0] for tag in tags)


def test_a_face_by_itself_has_the_whole_text_above_its_box():
    (tag,) = place_tags(np.array([[100, 100, 200, 200]]), [TEXTS], (480, 640), 1.0)
    assert tag.text == TEXTS[0]
    assert (tag.box[0], tag.box[3]) == (100, 100)
    (tag,) = place_tags(np.array([[100, 2, 200, 90]]), [TEXTS], (480, 640), 1.0)
    assert tag.box[1] == 90


def test_of_two_faces_one_above_the_other_no_tag_covers_a_face():
    boxes = np.array([[100, 100, 200, 200], [100, 205, 200, 300]])
    tags = place_tags(boxes, [TEXTS] * 2, (480, 640), 1.0)
    assert covered_share(boxes, tags) == 0
    assert overlap(tags[0].box, tags[1].box) == 0


def test_letters_stay_readable():
    boxes = crowd(5, 5, 20, 22)
    tags = place_tags(boxes, [TEXTS] * len(boxes), (480, 640), 1.0)
    assert min(tag.box[3] - tag.box[1] for tag in tags) >= 9


def test_three_hundred_and_seventy_three_faces_are_drawn_in_a_moment():
    boxes = crowd(19, 20, 60, 90)[:373].astype(np.float32)
    names = tuple(LABEL_COLORS)
    faces = Faces(
        boxes,
        np.ones(len(boxes)),
        np.repeat(boxes.reshape(-1, 2, 2).mean(axis=1, keepdims=True), 5, axis=1),
        np.eye(3, dtype=np.float32)[np.arange(len(boxes)) % 3],
        names,
    )
    image = np.full((1800, 1900, 3), 128, np.uint8)
    drawn = annotate(image, faces)
    for color in LABEL_COLORS.values():
        assert (drawn == np.array(color, np.uint8)).all(axis=2).sum() > 10_000
