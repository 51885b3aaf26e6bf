# SPDX-License-Identifier: Apache-2.0
"""The sample scene matches its ground truth, the same on every machine and day."""

import subprocess
import sys
from importlib.machinery import ModuleSpec

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_detector_ros.errors import ParameterError, SourceError
from mask_detector_ros.sources.sample_scene import LABEL_NAMES, SampleScene, portraits
from mask_detector_ros.sources.sample_scene import scene as scene_module

WIDTH, HEIGHT = 640, 480
SAMPLED_INDICES = range(0, 1500, 150)


def for_any_index(test):
    """Run a test with indices that hypothesis chooses."""
    any_index = st.integers(min_value=0, max_value=10**6)
    return settings(deadline=None)(given(index=any_index)(test))


@pytest.fixture(scope="module")
def scene() -> SampleScene:
    return SampleScene(WIDTH, HEIGHT)


def heights(faces):
    return faces.boxes[:, 3] - faces.boxes[:, 1]


def overlap(a, b):
    return np.all(np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2]))


def nose_colour(picture, landmarks):
    """Mean blue, green and red of the 3x3 pixels at the nose."""
    x, y = landmarks[2].round().astype(int)
    return picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(axis=0)


# The picture


def test_a_picture_is_bgr_bytes_of_the_size_asked_for(scene):
    picture, _ = scene.render(0)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous


def test_an_index_gives_the_same_picture_in_any_order_and_from_any_scene(scene):
    first, truth = scene.render(40)
    scene.render(7)
    for other in (scene, SampleScene(WIDTH, HEIGHT)):
        again, truth_again = other.render(40)
        np.testing.assert_array_equal(again, first)
        assert truth_again.to_records() == truth.to_records()


def test_rendering_leaves_the_earlier_pictures_alone(scene):
    kept, _ = scene.render(3)
    before = kept.copy()
    scene.render(4)
    np.testing.assert_array_equal(kept, before)


def test_the_picture_moves(scene):
    first, later = (scene.render(index)[0].astype(int) for index in (0, 15))
    assert np.abs(first - later).mean() > 5


def test_an_index_far_ahead_renders(scene):
    picture, faces = scene.render(10**9)
    assert picture.std() > 20
    assert len(faces) >= 6


@pytest.mark.parametrize("index", SAMPLED_INDICES)
def test_the_nose_shows_skin_unless_the_mask_is_worn_well(scene, index):
    picture, faces = scene.render(index)
    faces = faces[heights(faces) >= 40]
    for label, landmarks in zip(faces.labels, faces.landmarks, strict=True):
        blue, _, red = nose_colour(picture, landmarks)
        is_skin = red > 1.12 * blue
        assert is_skin == (label != "with_mask"), f"{label}: blue {blue:.0f}, red {red:.0f}"


def test_where_nobody_walks_two_pictures_differ_by_noise_only(scene):
    now, then = (scene.render(index)[0][:6, 330:340].astype(float) for index in (20, 21))
    assert 0 < np.abs(now - then).mean() < 8


# The ground truth


def test_the_truth_comes_with_the_picture_and_without_it(scene):
    assert scene.render(12)[1].to_records() == scene.ground_truth(12).to_records()


@for_any_index
def test_the_truth_is_certain_of_its_labels(scene, index):
    faces = scene.ground_truth(index)
    assert faces.label_names == LABEL_NAMES
    assert (faces.scores == 1).all()
    assert (np.sort(faces.probabilities, axis=1) == [0, 0, 1]).all()


@for_any_index
def test_boxes_lie_inside_the_picture_and_no_two_overlap(scene, index):
    boxes = scene.ground_truth(index).boxes
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (WIDTH, HEIGHT)).all()
    assert not any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


@for_any_index
def test_at_least_six_faces_of_24_to_130_pixels_are_always_in_view(scene, index):
    faces = scene.ground_truth(index)
    assert len(faces) >= 6
    assert heights(faces).min() > 23
    assert heights(faces).max() < 131


@for_any_index
def test_every_label_is_worn_by_a_face_of_40_pixels_or_more(scene, index):
    faces = scene.ground_truth(index)
    assert set(faces[heights(faces) >= 40].labels) == set(LABEL_NAMES)


@for_any_index
def test_landmarks_are_in_their_boxes_and_left_is_left_in_the_image(scene, index):
    faces = scene.ground_truth(index)
    whole = (faces.boxes[:, 0] > 0) & (faces.boxes[:, 2] < WIDTH)
    for box, (left_eye, right_eye, nose, left_mouth, right_mouth) in zip(
        faces.boxes[whole], faces.landmarks[whole], strict=True
    ):
        points = np.array([left_eye, right_eye, nose, left_mouth, right_mouth])
        assert (points > box[:2]).all()
        assert (points < box[2:]).all()
        assert left_eye[0] < nose[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < max(left_mouth[1], right_mouth[1])


@for_any_index
def test_from_one_frame_to_the_next_a_face_moves_by_a_few_pixels(scene, index):
    now, then = scene.ground_truth(index), scene.ground_truth(index + 1)
    _, rows_now, rows_then = np.intersect1d(now.track_ids, then.track_ids, return_indices=True)
    moved = now.boxes[rows_now] - then.boxes[rows_then]
    assert np.abs(moved).max() < 6


def test_one_person_grows_as_if_walking_up_to_the_camera(scene):
    sizes: dict[int, list[float]] = {}
    for index in range(0, 600, 10):
        faces = scene.ground_truth(index)
        for number, height in zip(faces.track_ids, heights(faces), strict=True):
            sizes.setdefault(int(number), []).append(float(height))
    assert max(max(s) / min(s) for s in sizes.values()) > 2


def test_a_face_that_leaves_the_picture_leaves_the_truth(scene):
    counts = {len(scene.ground_truth(index)) for index in range(0, 600, 5)}
    assert len(counts) > 1


# Other sizes


@pytest.mark.parametrize("size", [(320, 240), (1280, 720), (480, 640), (641, 479)])
def test_other_sizes_scale_the_scene(scene, size):
    width, height = size
    picture, faces = SampleScene(width, height).render(30)
    assert picture.shape == (height, width, 3)
    reference = scene.ground_truth(30)
    np.testing.assert_array_equal(faces.track_ids, reference.track_ids)
    scale = min(width / WIDTH, height / HEIGHT)
    np.testing.assert_allclose(heights(faces), scale * heights(reference), rtol=1e-4)


@pytest.mark.parametrize("size", [(63, 480), (640, 0), (640, -1), (9000, 480)])
def test_a_size_out_of_range_is_refused_with_the_range(size):
    with pytest.raises(ParameterError, match="64 to 8192"):
        SampleScene(*size)


# Where the pixels come from


def test_the_scene_needs_neither_network_nor_the_packages_that_carry_the_portraits():
    program = """
import socket, sys
def refuse(*_): raise AssertionError("the scene used the network")
socket.socket.connect = refuse
from mask_detector_ros.sources.sample_scene import SampleScene
SampleScene(320, 240).render(1)
print({"skimage", "matplotlib", "rclpy"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "set()"


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr(portraits, "find_spec", lambda name: None)
    scene_module.draw_sprites.cache_clear()  # The tests' own, see conftest.py.
    with pytest.raises(SourceError, match=r"skimage.*pip install scikit-image"):
        SampleScene()


def test_a_package_without_its_portrait_counts_as_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(portraits, "find_spec", lambda name: spec_of(name, tmp_path))
    with pytest.raises(SourceError, match=r"astronaut\.png"):
        portraits.ASTRONAUT.find()


def test_a_portrait_that_is_no_picture_is_refused(monkeypatch, tmp_path):
    damaged = tmp_path / portraits.ASTRONAUT.file
    damaged.parent.mkdir(parents=True)
    damaged.write_text("not a picture")
    monkeypatch.setattr(portraits, "find_spec", lambda name: spec_of(name, tmp_path))
    with pytest.raises(SourceError, match="install skimage again"):
        portraits.ASTRONAUT.load()


@pytest.mark.parametrize("portrait", [portraits.ASTRONAUT, portraits.HOPPER])
def test_what_was_measured_on_a_portrait_lies_on_it(portrait):
    """This fails if a new release of the package crops the photograph differently."""
    size = {"skimage": (512, 512), "matplotlib": (600, 512)}[portrait.package]
    assert portrait.load().shape[:2] == size
    oval = np.array([portrait.centre, portrait.half_size])
    for point in portrait.landmarks:
        assert np.hypot(*((np.array(point) - oval[0]) / oval[1])) < 1
    # A mask may stand off the cheek a little, never off the person.
    outline = np.array(portrait.outline, np.float32)
    for point in (*portrait.jaw, *portrait.over_nose, *portrait.under_nose):
        assert cv2.pointPolygonTest(outline, point, measureDist=True) > -3


def spec_of(name, folder):
    spec = ModuleSpec(name, loader=None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return spec
