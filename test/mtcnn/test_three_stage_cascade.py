# SPDX-License-Identifier: Apache-2.0
"""The three-stage cascade on the shipped networks."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from astronaut_heads import FACE, SETTINGS, head, heads, overlap
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_detector_ros.inference.thread_pool import ThreadPool
from mask_detector_ros.models import find_detector
from mask_detector_ros.mtcnn import pnet_pyramid
from mask_detector_ros.mtcnn.loading import load_cascade
from mask_detector_ros.mtcnn.pnet_pyramid import pyramid_shapes

LEFT_EYE, RIGHT_EYE, NOSE = (202.5, 101), (246.5, 103), (225, 126)
MOUTH_LEFT, MOUTH_RIGHT = (205, 140.5), (243, 141.5)


def assert_well_formed(faces):
    count = len(faces)
    shapes = {"boxes": (count, 4), "scores": (count,), "landmarks": (count, 5, 2)}
    for name, shape in shapes.items():
        array = getattr(faces, name)
        assert array.shape == shape
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert ((faces.scores >= 0) & (faces.scores <= 1)).all()
    assert (np.diff(faces.scores) <= 0).all()


def test_the_face_is_found_where_a_person_sees_it(cascade, astronaut):
    faces = cascade(astronaut, SETTINGS)
    assert_well_formed(faces)
    assert (faces.scores > 0.99).sum() == 1
    assert overlap(faces[[0]], FACE) > 0.6


def test_the_landmarks_lie_on_eyes_nose_and_mouth(cascade, astronaut):
    faces = cascade(astronaut, SETTINGS)
    by_hand = [LEFT_EYE, RIGHT_EYE, NOSE, MOUTH_LEFT, MOUTH_RIGHT]
    np.testing.assert_allclose(faces.landmarks[0], by_hand, atol=6)


def test_faces_carry_no_labels_before_the_classifier(cascade, astronaut):
    assert cascade(astronaut, SETTINGS).label_names == ()


def test_a_mirrored_image_gives_mirrored_faces(cascade, astronaut):
    faces = cascade(astronaut, SETTINGS)
    mirrored = cascade(astronaut[:, ::-1], SETTINGS)
    back = 512 - mirrored.boxes[:, [2, 1, 0, 3]]
    back[:, [1, 3]] = mirrored.boxes[:, [1, 3]]
    assert overlap(faces, back) > 0.85
    # The left eye of the mirrored image is the right eye of the other.
    points = mirrored.landmarks[0][[1, 0, 2, 4, 3]] * [-1, 1] + [512, 0]
    np.testing.assert_allclose(points, faces.landmarks[0], atol=6)


@pytest.mark.parametrize("scale", [0.5, 2, 3])
def test_a_scaled_image_gives_scaled_faces(cascade, astronaut, scale):
    scaled = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    faces = cascade(scaled, SETTINGS)
    assert len(faces) == 1
    assert overlap(faces, cascade(astronaut, SETTINGS).boxes * scale) > 0.85


def test_a_stretched_image_gives_faces_in_its_own_pixels(cascade, astronaut):
    faces = cascade(cv2.resize(astronaut, (1024, 512)), SETTINGS)
    assert len(faces) == 1
    assert overlap(faces, FACE * np.float32([2, 1, 2, 1])) > 0.5


@pytest.mark.parametrize(("left", "top"), [(200, 100), (37, 211), (1, 0)])
def test_a_moved_face_gives_a_moved_box(cascade, astronaut, left, top):
    packing = np.full((480, 480, 3), 90, np.uint8)
    packing[top : top + 256, left : left + 256] = head(astronaut)
    best = cascade(packing, SETTINGS)[[0]]
    shift = np.float32([left, top, left, top])
    assert overlap(best, cascade(head(astronaut), SETTINGS).boxes + shift) > 0.85


def test_one_face_then_many_then_none_then_many_equal_fresh_runs(cascade, astronaut, noise):
    pictures = [heads(astronaut, count) for count in (1, 4, 3, 1)]
    pictures.insert(2, noise)
    in_a_row = [cascade(picture, SETTINGS).to_records() for picture in pictures]
    assert [len(records) for records in in_a_row] == [1, 4, 0, 3, 1]
    for picture, records in zip(pictures, in_a_row, strict=True):
        fresh = load_cascade(find_detector("mtcnn"), threads=1)
        assert fresh(picture, SETTINGS).to_records() == records


def test_every_face_of_a_row_is_found_at_its_place(cascade, astronaut):
    faces = cascade(heads(astronaut, 4), SETTINGS)
    in_order = faces[faces.boxes[:, 0].argsort()]
    x1, y1, x2, y2 = FACE[0] - [96, 20, 96, 20]
    bare, mirrored = [x1, y1, x2, y2], [256 - x2, y1, 256 - x1, y2]
    places = np.arange(4)[:, None] * [256, 0, 256, 0]
    assert (overlap(in_order, np.add(places, [bare, mirrored, bare, mirrored])) > 0.6).all()


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(np.zeros((1, 1, 3), np.uint8), id="1x1"),
        pytest.param(np.zeros((12, 12, 3), np.uint8), id="12x12"),
        pytest.param(np.zeros((4, 20000, 3), np.uint8), id="20000x4"),
        pytest.param(np.zeros((20000, 4, 3), np.uint8), id="4x20000"),
        pytest.param(np.zeros((20, 20000, 3), np.uint8), id="20000x20"),
        pytest.param(np.zeros((200, 300, 3), np.uint8), id="all black"),
        pytest.param(np.full((200, 300, 3), 255, np.uint8), id="all white"),
        pytest.param(np.zeros((101, 97, 3), np.uint8), id="odd sizes"),
    ],
)
def test_a_picture_without_content_has_no_faces(cascade, picture):
    faces = cascade(picture, SETTINGS)
    assert_well_formed(faces)
    assert len(faces) == 0


@settings(max_examples=30)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 2**32 - 1), st.booleans())
def test_no_small_picture_is_an_error(cascade, height, width, seed, accept_all):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    thresholds = (0.0, 0.0, 0.0) if accept_all else SETTINGS.detection_thresholds
    faces = cascade(picture, replace(SETTINGS, min_face_size=12, detection_thresholds=thresholds))
    assert_well_formed(faces)


def test_the_memory_layout_of_the_picture_does_not_matter(cascade, astronaut):
    picture = head(astronaut).copy()
    expected = cascade(picture, SETTINGS).to_records()
    assert expected
    for same in (
        head(astronaut),
        np.asfortranarray(picture),
        np.ascontiguousarray(picture[..., ::-1])[..., ::-1],
        np.ascontiguousarray(picture[::-1, ::-1])[::-1, ::-1],
        np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.shape),
    ):
        assert cascade(same, SETTINGS).to_records() == expected


def test_smaller_faces_than_asked_for_are_not_looked_for(cascade, astronaut):
    quarter = cv2.resize(astronaut, (128, 128), interpolation=cv2.INTER_AREA)
    assert len(cascade(quarter, replace(SETTINGS, min_face_size=12))) == 1
    assert len(cascade(quarter, replace(SETTINGS, min_face_size=80))) == 0


@pytest.mark.parametrize("min_face_size", [20, 33, 100])
def test_proposal_network_sees_no_level_below_the_smallest_face(
    cascade, astronaut, min_face_size, monkeypatch
):
    seen, run = [], cascade.pnet.run
    monkeypatch.setattr(
        cascade.pnet, "run", lambda images: seen.append(images.shape) or run(images=images)
    )
    cascade(astronaut, replace(SETTINGS, min_face_size=min_face_size))
    # The levels, a sixth for what lies between them, and the overlap of tiles.
    shapes = pyramid_shapes(512, 512, min_face_size, SETTINGS.pyramid_factor)
    pixels = sum(height * width for height, width in shapes)
    assert pixels <= sum(height * width for _, _, height, width in seen) < 1.3 * pixels


def test_at_most_so_many_faces_are_given_the_best_ones(cascade, astronaut):
    picture = heads(astronaut, 3)
    every = cascade(picture, SETTINGS)
    for count in (1, 2, 3, 4):
        some = cascade(picture, replace(SETTINGS, max_faces=count))
        assert some.to_records() == every.to_records()[:count]


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_higher_threshold_never_finds_more_faces(cascade, astronaut, stage):
    counts = []
    for threshold in (0.1, 0.5, 0.9, 0.99, 1.0):
        thresholds = list(SETTINGS.detection_thresholds)
        thresholds[stage] = threshold
        changed = replace(SETTINGS, detection_thresholds=tuple(thresholds))
        counts.append(len(cascade(heads(astronaut, 2), changed)))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] >= 2


def test_every_face_reaches_the_last_threshold(cascade, astronaut):
    low = replace(SETTINGS, detection_thresholds=(0.1, 0.1, 0.3))
    faces = cascade(heads(astronaut, 2), low)
    assert (faces.scores >= 0.3).all()


def test_many_candidates_in_batches_give_the_same_faces(cascade, noise, monkeypatch):
    accept_all = replace(SETTINGS, min_face_size=30, detection_thresholds=(0.0, 0.0, 0.0))
    for session in (cascade.rnet, cascade.onet):
        monkeypatch.setattr(session, "batch_limit", 10**6)
    at_once = cascade(noise, accept_all)
    for session in (cascade.rnet, cascade.onet):
        monkeypatch.setattr(session, "batch_limit", 16)
    in_batches = cascade(noise, accept_all)
    assert_well_formed(in_batches)
    assert len(at_once) > 16
    np.testing.assert_allclose(in_batches.boxes, at_once.boxes, atol=1e-3)
    np.testing.assert_allclose(in_batches.scores, at_once.scores, atol=1e-5)


@pytest.mark.parametrize("threads", [2, 5])
def test_lanes_find_what_one_thread_finds(threads, cascade, astronaut):
    threads = load_cascade(find_detector("mtcnn"), "onnxruntime", threads)
    for picture in (heads(astronaut, 5), astronaut, astronaut[:15, :15]):
        expected = cascade(picture, SETTINGS)
        for near in (None, expected.boxes):
            expected, found = cascade(picture, SETTINGS, near), threads(picture, SETTINGS, near)
            np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


@pytest.mark.parametrize(
    ("crops", "threads", "sizes"),
    [
        (0, 1, [0]),
        (35, 1, [16, 16, 3]),
        (0, 3, [0]),
        (4, 3, [4]),
        (5, 3, [3, 2]),
        (40, 3, [14, 13, 13]),
        (50, 2, [13, 13, 12, 12]),
    ],
)
def test_crops_go_in_batches_and_as_many_to_each_lane(crops, threads, sizes, cascade, monkeypatch):
    monkeypatch.setattr(cascade, "_pool", ThreadPool(threads))
    batches = cascade._batches(np.arange(4 * crops).reshape(crops, 4), 16)
    assert [len(batch) for batch in batches] == sizes
    np.testing.assert_array_equal(np.concatenate(batches).ravel(), np.arange(4 * crops))


@pytest.fixture
def few_or_many_bands(monkeypatch):
    """Set the maximum number of pixels of a tile, in separate layouts."""

    def set_pixels(pixels):
        monkeypatch.setattr(pnet_pyramid, "MAX_TILE_ROWS", 10**6)
        monkeypatch.setattr(pnet_pyramid, "TILE_PIXELS", pixels)
        pnet_pyramid._lay_out.cache_clear()

    yield set_pixels
    pnet_pyramid._lay_out.cache_clear()


def test_bands_give_what_the_whole_gives(cascade, astronaut, few_or_many_bands):
    few_or_many_bands(10**9)
    at_once = cascade(astronaut, SETTINGS)
    few_or_many_bands(10**4)
    in_bands = cascade(astronaut, SETTINGS)
    np.testing.assert_allclose(in_bands.boxes, at_once.boxes, atol=1e-3)
    np.testing.assert_allclose(in_bands.scores, at_once.scores, atol=1e-5)
