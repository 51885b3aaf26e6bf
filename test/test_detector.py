# SPDX-License-Identifier: Apache-2.0
"""MaskDetector, from image to labelled faces."""

import importlib.util

import cv2
import numpy as np
import pytest

from mask_detector_ros import inference
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import BackendError, ImageError, ParameterError
from mask_detector_ros.faces import Faces
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters


def test_the_package_offers_the_detector_by_name():
    import mask_detector_ros

    assert mask_detector_ros.MaskDetector is MaskDetector
    assert mask_detector_ros.Faces is Faces


def test_a_face_is_found_and_labelled(detector, astronaut):
    faces = detector(astronaut)
    assert len(faces) == 1
    assert faces.label_names == detector.label_names
    assert faces.labels[0] in detector.label_names
    np.testing.assert_allclose(faces.probabilities.sum(axis=1), 1, atol=1e-5)
    assert faces.track_ids is None


def test_a_bare_face_is_without_mask(detector, astronaut):
    assert detector(astronaut).labels == ["without_mask"]


def test_a_picture_without_faces_gives_empty_faces_with_the_labels(detector, noise):
    faces = detector(noise)
    assert len(faces) == 0
    assert faces.label_names == detector.label_names
    assert faces.probabilities.shape == (0, len(detector.label_names))


@pytest.mark.parametrize(
    ("image", "got"),
    [
        pytest.param(None, "NoneType", id="nothing, as cv2.imread gives for a wrong path"),
        pytest.param([[[0, 0, 0]]], "list", id="lists"),
        pytest.param(np.zeros((40, 40, 3), np.float32), "float32", id="floats"),
        pytest.param(np.zeros((40, 40, 3), np.uint16), "uint16", id="16 bits"),
        pytest.param(np.zeros((40, 40, 3), bool), "bool", id="a mask"),
        pytest.param(np.zeros((40, 40), np.uint8), r"\(40, 40\)", id="gray"),
        pytest.param(np.zeros((40, 40, 1), np.uint8), r"\(40, 40, 1\)", id="gray, one channel"),
        pytest.param(np.zeros((40, 40, 4), np.uint8), r"\(40, 40, 4\)", id="with alpha"),
        pytest.param(np.zeros((1, 40, 40, 3), np.uint8), r"\(1, 40, 40, 3\)", id="a batch"),
        pytest.param(np.zeros((0, 40, 3), np.uint8), r"\(0, 40, 3\)", id="no rows"),
        pytest.param(np.zeros((40, 0, 3), np.uint8), r"\(40, 0, 3\)", id="no columns"),
    ],
)
def test_what_is_no_color_image_is_refused_with_what_is_needed(detector, image, got):
    with pytest.raises(
        ImageError, match=rf"need a \(height, width, 3\) uint8 BGR image, got .*{got}"
    ):
        detector(image)


def test_an_unknown_keyword_is_refused():
    with pytest.raises(ParameterError, match="unknown parameter minimum_face_size; there are"):
        MaskDetector.load(minimum_face_size=20)


def test_a_wrong_value_is_refused_before_any_model_is_read():
    with pytest.raises(ParameterError, match="min_face_size must be an integer from 12"):
        MaskDetector.load(min_face_size=5, detector_model="no such folder")


def test_an_explicit_backend_that_is_not_installed_fails_with_the_way_to_install_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name)
    )
    with pytest.raises(
        BackendError, match=r"openvino is not installed; do: pip install .*openvino"
    ):
        MaskDetector.load(backend="openvino")


def test_the_detector_says_what_runs_the_networks(detector):
    assert detector.backend in inference.BACKENDS
    assert detector.device


def test_openvino_finds_the_same_faces(detector, astronaut):
    pytest.importorskip("openvino", reason="the openvino extra is not installed")
    picture = np.hstack([astronaut, astronaut[:, ::-1]])
    expected = detector(picture)
    found = MaskDetector.load(backend="openvino", threads=1)(picture)
    assert len(found) == len(expected) == 2
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.5)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=0.5)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.01)


def test_pictures_of_alternating_sizes_do_not_influence_each_other(detector, astronaut, noise):
    pictures = [astronaut, noise, cv2.resize(astronaut, (300, 300)), astronaut[:200], noise[:5]]
    alone = [MaskDetector.load(threads=1)(picture).to_records() for picture in pictures]
    for _ in range(2):
        assert [detector(picture).to_records() for picture in pictures] == alone


def test_boxes_are_in_pixels_of_the_picture_also_when_it_is_stretched(detector, astronaut):
    (face,) = detector(astronaut)
    (wide,) = detector(cv2.resize(astronaut, (768, 512)))
    centre = (face.boxes[0, :2] + face.boxes[0, 2:]) / 2
    wide_centre = (wide.boxes[0, :2] + wide.boxes[0, 2:]) / 2
    np.testing.assert_allclose(wide_centre, centre * [1.5, 1], atol=20)


def test_live_parameters_count_from_the_next_image_on(astronaut):
    detector = MaskDetector.load(threads=1)
    assert len(detector(astronaut)) == 1
    detector.configure(check_parameters(DETECTOR_PARAMETERS, {"min_face_size": 300}))
    assert len(detector(astronaut)) == 0
    detector.configure(check_parameters(DETECTOR_PARAMETERS, {}))
    assert len(detector(astronaut)) == 1


def test_the_image_is_left_as_it_was(detector, astronaut):
    picture = astronaut.copy()
    detector(picture)
    np.testing.assert_array_equal(picture, astronaut)


def test_streams_of_one_detector_follow_their_own_people(detector, astronaut, noise):
    one, other = detector.stream(), detector.stream()
    for i in range(8):
        first = one(astronaut, i / 10)
        assert len(other(noise, i / 10)) == 0
    assert first.track_ids.tolist() == [1]
    assert first.track_ages.tolist() == pytest.approx([0.7])
    assert one.count_people()["without_mask"] == 1
    assert sum(other.count_people().values()) == 0
    assert [who for who, _ in one.raise_alerts(["without_mask", "bearded"], 0.5)] == [1]
    one.reset()
    assert sum(one.count_people().values()) == 0


def test_a_stream_without_tracking_is_the_detector(detector, astronaut):
    stream = detector.stream(tracking=False)
    assert stream(astronaut, 0.0).to_records() == detector(astronaut).to_records()
    stream.configure(tracking=True, smoothing=0.0, search_every=1)
    assert stream(astronaut, 0.1).track_ids.tolist() == [1]
    stream.configure(tracking=False, smoothing=0.0, search_every=1)
    assert stream(astronaut, 0.2).track_ids is None


def shifted(picture, pixels):
    """The image moved to the right, black behind it."""
    return np.pad(picture, ((0, 0), (pixels, 0), (0, 0)))[:, : picture.shape[1]]


def test_a_stream_searches_whole_images_now_and_then(detector, astronaut, noise):
    stream = detector.stream(search_every=3)
    # Whole: nobody there. The next two look nowhere, so the newcomer is found by the fourth.
    shown = [noise, astronaut, astronaut, astronaut]
    assert [len(stream(image, i / 10)) for i, image in enumerate(shown)] == [0, 0, 0, 1]
    # Near where the face was, it is found on its way.
    assert len(stream(shifted(astronaut, 30), 0.4)) == 1
    assert len(stream(shifted(astronaut, 60), 0.5)) == 1
    assert len(stream(noise, 0.6)) == len(stream(astronaut, 0.7)) == 0
    # After a restart, or a jump of the stamps, the last boxes of faces are unknown.
    stream.reset()
    assert len(stream(astronaut, 0.8)) == 1
    assert len(stream(noise, 0.9)) == len(stream(noise, 1.0)) == len(stream(noise, 1.1)) == 0
    assert len(stream(astronaut, 60.0)) == 1


def test_a_stream_looks_where_somebody_known_is_out_of_sight(detector, astronaut, noise):
    stream = detector.stream(search_every=50)
    for i in range(8):
        assert len(stream(astronaut, i / 10)) == 1
    assert len(stream(noise, 0.8)) == 0
    assert stream(astronaut, 0.9).track_ids.tolist() == [1]


def test_a_stream_takes_over_how_often_it_searches(detector, astronaut, noise):
    stream = detector.stream(search_every=50)
    assert len(stream(noise, 0.0)) == len(stream(astronaut, 0.1)) == 0
    stream.configure(tracking=True, smoothing=1.0, search_every=2)
    assert len(stream(astronaut, 0.2)) == 1
