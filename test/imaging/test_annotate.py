# SPDX-License-Identifier: Apache-2.0
"""Drawing faces onto an image."""

import numpy as np
import pytest

from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.annotate import (
    HIDDEN_MARGIN,
    LABEL_COLORS,
    MOSAIC,
    OTHER_COLOR,
    annotate,
)

LABELS = tuple(LABEL_COLORS)
GRAY = 128


def plain(height=240, width=320):
    return np.full((height, width, 3), GRAY, np.uint8)


def face(box, label="with_mask", landmarks=None, names=LABELS, track=None):
    points = np.full((1, 5, 2), np.mean(box)) if landmarks is None else landmarks
    return Faces(
        [box],
        [1.0],
        points,
        probabilities=[[float(name == label) for name in names]],
        label_names=names,
        track_ids=None if track is None else [track],
    )


def count_pixels(image, color):
    return (image == np.array(color, np.uint8)).all(axis=2).sum()


def test_the_image_is_left_as_it_was_and_a_copy_comes_back():
    image = plain()
    image.setflags(write=False)
    drawn = annotate(image, face([100, 100, 200, 200]))
    assert (image == GRAY).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != GRAY).any()


def test_without_faces_the_copy_equals_the_image_and_is_writable():
    image = plain()
    image.setflags(write=False)
    drawn = annotate(image, Faces.empty(LABELS))
    np.testing.assert_array_equal(drawn, image)
    drawn[0] = 0
    assert (image == GRAY).all()


@pytest.mark.parametrize("label", LABELS)
def test_each_label_has_its_own_color(label):
    drawn = annotate(plain(), face([100, 100, 200, 200], label))
    others = [color for name, color in LABEL_COLORS.items() if name != label]
    assert count_pixels(drawn, LABEL_COLORS[label]) > 400
    assert all(count_pixels(drawn, color) == 0 for color in others)


def test_a_label_of_ones_own_is_drawn_by_its_role_in_letters_that_the_font_has():
    box = [100, 100, 200, 200]
    spanish = face(box, "Sin máscara", names=("Con máscara", "Sin máscara"))
    plain_letters = face(box, "Sin mascara", names=("Con mascara", "Sin mascara"))
    drawn = annotate(plain(), spanish)
    assert count_pixels(drawn, LABEL_COLORS["without_mask"]) > 400
    np.testing.assert_array_equal(drawn, annotate(plain(), plain_letters))
    korean = annotate(plain(), face(box, "마스크 미착용", names=("마스크", "마스크 미착용")))
    np.testing.assert_array_equal(korean, annotate(plain(), face(box, "without_mask")))


def test_a_label_of_another_model_and_no_label_have_the_other_color():
    box = [100, 100, 200, 200]
    for faces in (face(box, "bearded", names=("bearded",)), face(box, names=())):
        assert count_pixels(annotate(plain(), faces), OTHER_COLOR) > 400


def test_the_box_is_drawn_where_the_face_is():
    drawn = annotate(plain(), face([100, 120, 200, 180]))
    color = np.array(LABEL_COLORS["with_mask"])
    for x, y in [(150, 120), (150, 180), (100, 150), (200, 150)]:
        np.testing.assert_array_equal(drawn[y, x], color)
    assert (drawn[190:] == GRAY).all()
    assert (drawn[:, :90] == GRAY).all()


def test_landmarks_are_drawn_where_they_are():
    points = [[[120, 130], [180, 130], [150, 150], [130, 170], [170, 170]]]
    drawn = annotate(plain(), face([100, 110, 200, 190], landmarks=points))
    for x, y in points[0]:
        assert tuple(drawn[y, x]) == LABEL_COLORS["with_mask"]


def test_the_text_stands_below_where_there_is_no_room_above():
    drawn = annotate(plain(), face([100, 2, 200, 80]))
    assert count_pixels(drawn[82:100, 100:200], LABEL_COLORS["with_mask"]) > 400


def test_a_track_id_is_part_of_the_text():
    box = [100, 100, 200, 200]
    without, with_id = annotate(plain(), face(box)), annotate(plain(), face(box, track=7))
    assert (without != with_id).any()


def portrait_like(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (240, 320, 3), np.uint8)


@pytest.mark.parametrize("privacy", ["blur", "pixelate"])
@pytest.mark.parametrize("size", [12, 40, 150])
def test_a_hidden_face_keeps_a_few_colors_and_the_rest_of_the_image_stays(privacy, size):
    image = portrait_like()
    box = [100, 60, 100 + size, 60 + size]
    hidden = annotate(image, Faces.empty(LABELS), privacy, np.float32([box]))
    inside = hidden[60 : 60 + size, 100 : 100 + size]
    if privacy == "pixelate":
        assert len(np.unique(inside.reshape(-1, 3), axis=0)) <= MOSAIC**2
    # Only the colours of the squares are left in the image.
    assert inside.std() < image.std() / 2
    margin = round(HIDDEN_MARGIN * size) + 1
    outside = np.ones(image.shape[:2], bool)
    outside[60 - margin : 60 + size + margin, 100 - margin : 100 + size + margin] = False
    np.testing.assert_array_equal(hidden[outside], image[outside])


@pytest.mark.parametrize("privacy", ["blur", "pixelate"])
def test_found_and_missed_faces_are_hidden_both(privacy):
    image = portrait_like()
    missed = np.float32([[200, 100, 260, 160]])
    hidden = annotate(image, face([40, 100, 100, 160]), privacy, missed)
    for x in (60, 220):
        assert hidden[120:150, x : x + 20].std() < image.std() / 2


@pytest.mark.parametrize("box", [[-50, -50, -10, -10], [-9, -9, 9, 9], [1e9, 0, 2e9, 9], [5] * 4])
def test_what_lies_outside_the_image_is_hidden_without_an_error(box):
    annotate(portrait_like(), face(box), "blur")
    annotate(portrait_like(), Faces.empty(LABELS), "blur", np.float32([[np.nan] * 4]))


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (7, 2), (20, 20), (3, 2000)])
def test_a_tiny_image_is_no_error(shape):
    drawn = annotate(plain(*shape), face([0, 0, shape[1], shape[0]]))
    assert drawn.shape == (*shape, 3)


@pytest.mark.parametrize(
    "box",
    [
        [-50, -50, -10, -10],
        [400, 300, 500, 400],
        [-100, -100, 1000, 1000],
        [-1e9, -1e9, 1e9, 1e9],
        [-3e38, 10, 3e38, 20],
        [200, 200, 100, 100],
        [100, 100, 100, 100],
    ],
    ids=str,
)
def test_a_box_that_leaves_the_image_is_cut_off(box):
    points = np.float32([[[-3e38, 3e38], [1e9, 0], [0, -1e9], [400, 400], [50, 50]]])
    assert annotate(plain(), face(box, landmarks=points)).shape == (240, 320, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_box_that_is_not_finite_is_left_out_and_the_others_are_drawn(value):
    good = face([100, 100, 200, 200])
    both = Faces(
        np.vstack([[value, 10, 20, 30], good.boxes]),
        np.ones(2),
        np.vstack([good.landmarks, good.landmarks]),
        probabilities=np.vstack([good.probabilities] * 2),
        label_names=LABELS,
    )
    np.testing.assert_array_equal(annotate(plain(), both), annotate(plain(), good))


def test_a_landmark_that_is_not_finite_is_left_out():
    points = np.full((1, 5, 2), np.nan)
    drawn = annotate(plain(), face([100, 100, 200, 200], landmarks=points))
    assert count_pixels(drawn, LABEL_COLORS["with_mask"]) > 400
