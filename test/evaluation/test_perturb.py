# SPDX-License-Identifier: Apache-2.0
"""Perturbed photographs, and the positions of their faces."""

import cv2
import numpy as np
import pytest

from mask_detector_ros.evaluation.dataset import LabelledImage
from mask_detector_ros.evaluation.perturb import PERTURBATIONS, perturb


@pytest.fixture
def image():
    """A black image of 120x200 with two white faces, one large, one small."""
    image = np.zeros((120, 200, 3), np.uint8)
    image[40:100, 60:100] = 255
    image[10:20, 150:160] = 255
    return image


@pytest.fixture
def labelled(tmp_path):
    boxes = np.float32([[60, 40, 100, 100], [150, 10, 160, 20]])
    return LabelledImage(
        tmp_path / "a.png", boxes, np.array([0, 2]), np.float32([[0, 0, 10, 10]]), False
    )


def white_box(image):
    """The box around the largest white region."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 127).astype(np.uint8))
    left, top, width, height, _ = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
    return [left, top, left + width, top + height]


@pytest.mark.parametrize("name", ["rotate90", "fill", "edge", "dark", "blur", "jpeg30", "grey"])
def test_the_boxes_go_where_the_faces_go(name, image, labelled):
    changed, moved = perturb(name, image, labelled)
    if name == "dark":
        changed = changed * 5
    np.testing.assert_allclose(moved.boxes[0], white_box(changed), atol=2)


def test_a_face_that_is_no_longer_shown_becomes_one_to_ignore(image, labelled):
    changed, moved = perturb("fill", image, labelled)
    assert max(changed.shape[:2]) == 480
    assert moved.label_ids.tolist() == [0]
    assert len(moved.boxes) == 1
    assert len(moved.ignored) == 2


def test_the_edge_cuts_a_third_of_the_largest_face(image, labelled):
    changed, moved = perturb("edge", image, labelled)
    assert moved.boxes[0].tolist() == [0, 40, 26, 100]
    assert changed.shape == (120, 126, 3)


def test_a_rotated_face_has_the_box_of_its_ellipse(tmp_path):
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.ellipse(image, (100, 100), (30, 45), 0, 0, 360, (255, 255, 255), -1)
    face = LabelledImage(
        tmp_path / "a.png",
        np.float32([[70, 55, 131, 146]]),
        np.array([0]),
        np.empty((0, 4), np.float32),
        False,
    )
    changed, moved = perturb("rotate30", image, face)
    np.testing.assert_allclose(moved.boxes[0], white_box(changed), atol=1.5)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_photograph_without_a_face_can_be_perturbed_too(name, image, labelled):
    from dataclasses import replace

    none = replace(labelled, boxes=np.empty((0, 4), np.float32), label_ids=np.empty(0, np.int64))
    changed, moved = perturb(name, image, none)
    assert changed.dtype == np.uint8
    assert moved.boxes.shape == (0, 4)


def test_pixels_change_as_the_name_says(image, labelled):
    image = np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)
    dark, _ = perturb("dark", image, labelled)
    grey, _ = perturb("grey", image, labelled)
    blurred, _ = perturb("blur", image, labelled)
    assert dark.mean() == pytest.approx(0.2 * image.mean(), rel=0.02)
    assert (grey[..., 0] == grey[..., 2]).all()
    assert blurred.std() < image.std() / 3
