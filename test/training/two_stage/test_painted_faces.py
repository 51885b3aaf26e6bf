# SPDX-License-Identifier: Apache-2.0
"""Masks painted on bare faces, in all places where people wear them."""

import cv2
import numpy as np
import pytest

from training.mask_augmentation import INCORRECTLY, WITH_MASK, WITHOUT_MASK
from training.two_stage.painted_faces import (
    PLACES,
    collect_cloth,
    paint_face,
    paint_faces,
)
from training.two_stage.photographs import Photograph

BOX = np.array([60, 50, 140, 150], np.float32)
UNKNOWN = np.full((5, 2), np.nan, np.float32)
MARKS = np.array([[82, 90], [118, 90], [100, 112], [86, 130], [114, 130]], np.float32)
RED = np.zeros((2, 48, 72, 3), np.uint8) + np.array([0, 0, 255], np.uint8)
NONE = np.zeros((0, 48, 72, 3), np.uint8)

ROWS = {
    "worn": (0.3, 1.2),
    "under the nose": (0.62, 1.2),
    "on the chin": (0.78, 1.2),
    "under the chin": (0.88, 1.25),
    "over the eyes": (0.12, 0.62),
    "on the forehead": (-0.15, 0.38),
}
"""Rows of the box between which the middle column of a mask lies."""


def face(marks=UNKNOWN, kinds=(WITHOUT_MASK,)):
    boxes = np.tile(BOX, (len(kinds), 1))
    landmarks = np.tile(marks, (len(kinds), 1, 1))
    return Photograph("unused", "some", boxes, np.array(kinds, np.int8), False, landmarks)


def middle_rows(image, painted):
    """First and last painted row at the middle of the face, as fractions of the box height."""
    rows = np.flatnonzero((image != painted).any(2)[:, 100])
    return (np.array([rows[0], rows[-1]]) - BOX[1]) / (BOX[3] - BOX[1])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("marks", [UNKNOWN, MARKS], ids=["unknown", "landmarks"])
@pytest.mark.parametrize("cloths", [NONE, RED], ids=["drawn", "real"])
def test_a_mask_lies_where_it_should(place, marks, cloths):
    image = np.full((220, 200, 3), 128, np.uint8)
    for seed in range(12):
        painted = paint_face(image, BOX, marks, place, cloths, np.random.default_rng(seed))
        first, last = middle_rows(image, painted)
        assert ROWS[place][0] <= first < last <= ROWS[place][1]


def test_the_labels_follow_the_rule():
    image = np.full((220, 200, 3), 128, np.uint8)
    seen = set()
    for seed in range(60):
        photo = face(kinds=(WITHOUT_MASK, WITH_MASK, INCORRECTLY, 3))
        rng = np.random.default_rng(seed)
        painted, kinds = paint_faces(photo, image, rng, share=1.0, cloths=NONE)
        assert kinds[1:].tolist() == [WITH_MASK, INCORRECTLY, 3]
        first, _ = middle_rows(image, painted)
        assert (kinds[0] == WITH_MASK) == (0.3 <= first <= 0.6) or kinds[0] == INCORRECTLY
        seen.add(kinds[0])
    assert seen == {WITH_MASK, INCORRECTLY}


def test_landmarks_move_the_mask():
    image = np.full((220, 200, 3), 128, np.uint8)
    aside = MARKS + np.array([16, 0], np.float32)

    def middle(marks):
        painted = paint_face(image, BOX, marks, "on the chin", NONE, np.random.default_rng(3))
        return np.nonzero((image != painted).any(2))[1].mean()

    assert middle(aside) > middle(MARKS) + 5


def test_a_mask_outside_the_image_is_not_painted_and_the_face_stays_bare():
    image = np.full((151, 200, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    assert paint_face(image, BOX, UNKNOWN + np.nan, "under the chin", NONE, rng) is None


def test_small_faces_stay_as_they_are():
    photo = face()
    small = Photograph("x", "some", photo.boxes / 8, photo.kinds, False, photo.landmarks)
    image = np.full((40, 40, 3), 128, np.uint8)
    painted, kinds = paint_faces(small, image, np.random.default_rng(0), share=1.0, cloths=NONE)
    assert (painted == image).all()
    assert kinds.tolist() == [WITHOUT_MASK]


def test_cloth_comes_from_large_masked_faces_that_look_ahead(tmp_path):
    path = tmp_path / "masked.png"
    image = np.full((220, 200, 3), 128, np.uint8)
    image[110:160, 60:140] = (0, 0, 255)
    cv2.imwrite(str(path), image)
    turned = MARKS.copy()
    turned[2, 0] = 125

    def cloth(kind=WITH_MASK, marks=MARKS, box=BOX, **changes):
        photo = Photograph(
            path, "some", box[None], np.array([kind]), landmarks=marks[None], **changes
        )
        return collect_cloth([photo], 10, seed=0)

    assert cloth().shape == (1, 48, 72, 3)
    assert (cloth() == (0, 0, 255)).all()
    assert len(cloth(kind=WITHOUT_MASK)) == 0
    assert len(cloth(marks=turned)) == 0
    assert len(cloth(box=BOX / 2)) == 0
    assert len(cloth(suspect=True)) == 0
    photo = Photograph(path, "some", BOX[None], np.array([WITH_MASK]), landmarks=MARKS[None])
    assert len(collect_cloth([photo] * 3, 2, seed=0)) == 2
