# SPDX-License-Identifier: Apache-2.0
"""Groups of faces by yaw and skin tone, and their figures."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mask_detector_ros.evaluation.bootstrap import draw_images
from mask_detector_ros.evaluation.face_groups import LandmarkNetwork, typology_angles, yaw_ratio
from mask_detector_ros.evaluation.group_figures import (
    LABELLED,
    NEGATIVES,
    false_faces,
    group_figures,
)

FRONTAL = np.float32([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]])


def turned(pixels):
    points = FRONTAL.copy()
    points[2, 0] += pixels
    return points


def test_yaw_is_the_noses_way_from_between_the_eyes_in_eye_distances():
    points = np.stack([FRONTAL, turned(10), turned(-30)])
    np.testing.assert_allclose(yaw_ratio(points), [0, 0.25, 0.75])


def test_yaw_does_not_depend_on_roll_or_size():
    rotation = cv2.getRotationMatrix2D((50, 50), 40, 2.5)
    rolled = np.hstack([turned(12), np.ones((5, 1))]) @ rotation.T
    np.testing.assert_allclose(yaw_ratio(rolled[None].astype(np.float32)), [0.3], rtol=1e-5)


@pytest.mark.parametrize("roll", [0, 90, 180])
def test_the_tone_is_read_above_the_eyes(roll):
    image = np.zeros((100, 100, 3), np.uint8)
    # Of L* 70 and b* 20 above the eyes; black elsewhere.
    lab = np.full((1, 1, 3), (70, 10, 20), np.float32)
    colour = np.rint(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR) * 255).astype(np.uint8)
    image[10:38] = colour
    rotation = cv2.getRotationMatrix2D((49.5, 49.5), roll, 1)
    image = cv2.warpAffine(image, rotation, (100, 100))
    points = np.hstack([FRONTAL, np.ones((5, 1))]) @ rotation.T
    (angle,) = typology_angles(image, points[None].astype(np.float32))
    assert angle == pytest.approx(45, abs=1)


def test_there_is_no_tone_outside_the_image():
    image = np.zeros((100, 100, 3), np.uint8)
    assert np.isnan(typology_angles(image, FRONTAL[None] - 60)).all()


def test_the_fixed_network_places_landmarks_where_the_detector_does(detector, astronaut):
    faces = detector(astronaut)
    landmarks = LandmarkNetwork(threads=1)(astronaut, faces.boxes)
    side = (faces.boxes[0, 2:] - faces.boxes[0, :2]).max()
    assert np.abs(landmarks - faces.landmarks).max() < 0.1 * side


@pytest.fixture
def grouped(predictions):
    """Predictions for a frontal, a half turned and no other large face; b is a negative."""
    return replace(
        predictions,
        sizes=np.float32([[200, 200]] * 3),
        negatives=np.array([False, False, False]),
        sources=("web", "phone", "phone"),
        truth_landmarks=np.stack([FRONTAL, turned(10), FRONTAL, FRONTAL, turned(40)]),
        truth_tones=np.float32([50, 20, 50, np.nan, 0]),
    )


def test_each_group_has_its_faces_and_a_small_face_has_none(grouped):
    rows = {row.group: row for row in group_figures(grouped, "net", draw_images(3, 20))}
    counts = {name: row.faces for name, row in rows.items()}
    assert counts == {
        "all": 4,
        "frontal": 2,
        "half turned": 1,
        "turned far": 1,
        "skin lightest": 1,
        "skin medium": 1,
        "skin darkest": 1,
        "source phone": 2,
        "source web": 2,
    }
    assert rows["half turned"].label_accuracy.value == 0  # bare, called masked
    assert rows["frontal"].recall.value == 0.5
    assert rows["half turned"].bare_faces == 1
    assert np.isnan(rows["turned far"].recall.value)  # a cut-out face is not searched for


def test_false_faces_are_counted_by_image_and_by_area(grouped):
    (labelled,) = false_faces(grouped, draw_images(3, 20))
    assert (labelled.images, labelled.count, labelled.false_faces) == (LABELLED, 2, 1)
    assert labelled.per_image.value == 0.5
    assert labelled.per_megapixel.value == pytest.approx(1 / 0.08)


def test_photographs_without_a_face_are_counted_apart(grouped):
    predictions = replace(grouped, negatives=np.array([False, True, False]))
    labelled, negatives = false_faces(predictions, draw_images(3, 20))
    assert (labelled.count, labelled.false_faces) == (1, 0)
    assert (negatives.images, negatives.count, negatives.false_faces) == (NEGATIVES, 1, 1)
