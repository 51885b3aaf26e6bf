# SPDX-License-Identifier: Apache-2.0
"""The two-stage cascade, on networks small enough to follow by hand."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from two_stage_networks import LABELS, decision_network, proposal_network

from mask_detector_ros import MaskDetector
from mask_detector_ros.errors import ModelError
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.session import CPU_BATCH
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.loading import load_cascade
from mask_detector_ros.mtcnn.two_stage_cascade import TwoStageCascade, combine_scores

SETTINGS = DetectionSettings(16, 0.709, (0.6, 0.7, 0.7), max_faces=0)


@pytest.fixture(scope="module")
def networks():
    return {"proposal": proposal_network(), "decision": decision_network()}


@pytest.fixture(scope="module")
def cascade(networks):
    return load_cascade(networks, "onnxruntime", threads=1)


def frame(*boxes, height=128, width=160):
    """A black frame with a white rectangle for each box."""
    image = np.zeros((height, width, 3), np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = 255
    return image


def test_a_face_is_proposed_and_decided_on(cascade):
    faces = cascade(frame((16, 16, 48, 48)), SETTINGS)
    # The finer level proposes smaller boxes inside the square, too.
    assert np.abs(faces.boxes - [16, 16, 48, 48]).max(axis=1).min() <= 1
    assert faces.scores[0] == pytest.approx(1, abs=0.02)


def test_landmarks_lie_in_the_crop_of_the_proposal(cascade):
    faces = cascade(frame((16, 16, 48, 48)), SETTINGS)
    # A box is the middle half of its crop: the eyes at 0.3 of the crop are at 0.1 of the box.
    corner, side = faces.boxes[0, :2], faces.boxes[0, 2:] - faces.boxes[0, :2]
    np.testing.assert_allclose(faces.landmarks[0, 0], corner + 0.1 * side, atol=0.1)
    np.testing.assert_allclose(faces.landmarks[0, 2], corner + 0.5 * side, atol=0.1)


def test_the_decision_network_gives_the_labels(cascade):
    assert cascade.label_names == tuple(LABELS)
    faces = cascade(frame((16, 16, 48, 48)), SETTINGS)
    assert faces.label_names == tuple(LABELS)
    np.testing.assert_allclose(faces.probabilities.sum(axis=1), 1, atol=1e-5)
    assert faces.labels[0] == "with_mask"  # white on the left


def test_a_frame_without_faces_gives_none_with_the_labels(cascade):
    faces = cascade(frame(), SETTINGS)
    assert len(faces) == 0
    assert faces.label_names == tuple(LABELS)
    assert faces.probabilities.shape == (0, len(LABELS))


def test_a_frame_smaller_than_a_face_gives_none(cascade):
    assert len(cascade(frame(height=10), SETTINGS)) == 0


def test_a_score_below_its_threshold_goes_in_either_stage(cascade):
    image = frame((16, 16, 48, 48)) // 2
    for thresholds, found in (
        ((0.4, 1.0, 0.4), True),
        ((0.6, 0.0, 0.4), False),
        ((0.4, 0.0, 0.6), False),
    ):
        faces = cascade(image, replace(SETTINGS, detection_thresholds=thresholds))
        assert (len(faces) > 0) is found


def test_the_combined_score_has_the_weighted_mean_of_the_logits():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.01, 0.99, (2, 50)).astype(np.float32)
    logits = [np.log(scores / (1 - scores)) for scores in (first, second)]
    wanted = 1 / (1 + np.exp(-np.average(logits, axis=0, weights=(2, 1))))
    np.testing.assert_allclose(combine_scores(first, second), wanted, atol=1e-4)
    extremes = np.array([0, 0, 1, 1], np.float32), np.array([0, 1, 0, 1], np.float32)
    np.testing.assert_allclose(combine_scores(*extremes), [0, 0, 0, 1], atol=1e-5)


def test_boxes_end_where_the_image_ends(cascade):
    faces = cascade(frame((0, 0, 24, 24)), replace(SETTINGS, detection_thresholds=(0.3, 0, 0.2)))
    assert len(faces)
    assert faces.boxes.min() >= 0


def test_faces_are_the_same_whatever_the_scale_of_the_frame(cascade):
    image = frame((32, 32, 96, 96), height=256, width=320)
    (large,) = cascade(image, replace(SETTINGS, min_face_size=32, max_faces=1)).boxes
    (small,) = cascade(image[::2, ::2], replace(SETTINGS, max_faces=1)).boxes
    np.testing.assert_allclose(large, 2 * small, atol=2)


def test_the_best_faces_are_kept_where_their_number_is_limited(cascade):
    image = frame((16, 16, 48, 48), (96, 64, 128, 96))
    every = cascade(image, SETTINGS)
    best = cascade(image, replace(SETTINGS, max_faces=1))
    assert len(every) > 1
    np.testing.assert_array_equal(best.boxes, every.boxes[:1])


def test_no_frame_has_more_crops_than_the_budget(cascade):
    white = frame((0, 0, 160, 128))
    settings = replace(SETTINGS, max_candidates=10)
    faces = cascade(white, settings)
    assert len(faces) <= 10
    assert cascade.overrun.kept == 10
    assert cascade.overrun.found > 10
    cascade(frame((16, 16, 48, 48)), SETTINGS)
    assert cascade.overrun is None


def test_many_crops_are_as_right_as_few(cascade):
    white = frame((0, 0, 160, 128))
    boxes = np.float32([[8 * i, 40, 8 * i + 16, 56] for i in range(CPU_BATCH)] * 3)
    several = cascade.label(white, Faces.known(boxes))
    one = [cascade.label(white, Faces.known(box[None])).probabilities[0] for box in boxes]
    np.testing.assert_allclose(several.probabilities, one, atol=1e-6)


def test_near_a_last_box_the_face_is_followed_and_others_are_not_found(cascade):
    image = frame((16, 16, 48, 48), (96, 64, 128, 96))
    near = np.float32([[14, 18, 46, 50]])
    faces = cascade(image, SETTINGS, near)
    assert len(faces) == 1
    assert np.abs(faces.boxes[0] - [16, 16, 48, 48]).max() <= 4


def test_near_nowhere_nothing_is_found(cascade):
    assert len(cascade(frame((16, 16, 48, 48)), SETTINGS, np.empty((0, 4), np.float32))) == 0


def test_a_box_without_an_area_is_no_face(cascade):
    near = np.float32([[10, 10, 10, 30], [np.nan, 0, 9, 9]])
    settings = replace(SETTINGS, detection_thresholds=(0, 0, 0))
    assert len(cascade(frame(), settings, near)) == 0


def test_a_large_frame_shows_large_faces_to_a_coarse_pass(networks):
    proposal = proposal_network(largest_face=64)
    image = frame((64, 64, 192, 192), height=256, width=320)
    found = {}
    for name, network in (("one", networks["proposal"]), ("more", proposal)):
        cascade = load_cascade({**networks, "proposal": network}, "onnxruntime", threads=1)
        faces = cascade(image, SETTINGS)
        found[name] = (faces.boxes[:, 2] - faces.boxes[:, 0]).max()
    # 32 pixels are the network's largest boxes; the coarse pass sees a quarter of the frame's size.
    assert found["one"] < 48
    assert found["more"] > 96


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_backend_finds_the_same(networks, cascade, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    image = frame((16, 16, 48, 48), (96, 64, 128, 96))
    expected = cascade(image, SETTINGS)
    found = load_cascade(networks, backend, threads=1)(image, SETTINGS)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)


@pytest.fixture
def folder(networks, tmp_path):
    for name, network in networks.items():
        (tmp_path / f"{name}.onnx").write_bytes(network)
    return tmp_path


def test_a_folder_with_both_files_is_a_detector_with_labels_of_its_own(folder):
    detector = MaskDetector.load(
        detector_model=str(folder), backend="onnxruntime", threads=1, min_face_size=16
    )
    assert detector.label_names == tuple(LABELS)
    assert detector(frame((16, 16, 48, 48))).labels[0] == "with_mask"


def test_a_classifier_that_is_named_labels_instead(folder):
    detector = MaskDetector.load(
        detector_model=str(folder),
        classifier_model="mask_classifier",
        backend="onnxruntime",
        threads=1,
        min_face_size=16,
    )
    assert len(detector.label_names) == 3
    assert detector(frame((16, 16, 48, 48))).probabilities.shape[1] == 3


def test_a_folder_with_one_of_the_two_says_what_it_must_hold(folder):
    (folder / "decision.onnx").unlink()
    with pytest.raises(ModelError, match=r"must hold proposal\.onnx, decision\.onnx"):
        MaskDetector.load(detector_model=str(folder))


@pytest.mark.parametrize(
    ("stage", "key"),
    [("proposal", "smallest_face"), ("proposal", "strides"), ("decision", "labels")],
)
def test_a_file_without_its_metadata_is_named_with_what_it_lacks(networks, stage, key):
    model = onnx.load_from_string(networks[stage])
    kept = [p for p in model.metadata_props if p.key != key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    with pytest.raises(ModelError, match=rf"{stage} lacks .*{key}"):
        load_cascade({**networks, stage: model.SerializeToString()}, "onnxruntime")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", '["mask", "mask"]'),
        ("labels", '"mask"'),
        ("labels", "[" * 100_000),
        ("margin", "nan"),
        ("margin", "-1"),
    ],
)
def test_labels_and_margin_must_make_sense(networks, key, value):
    model = onnx.load_from_string(networks["decision"])
    next(p for p in model.metadata_props if p.key == key).value = value
    with pytest.raises(ModelError, match="decision lacks labels and margin"):
        load_cascade({**networks, "decision": model.SerializeToString()}, "onnxruntime")


def test_networks_in_the_wrong_order_are_rejected(networks):
    sessions = [create_session(networks[s], s, "onnxruntime") for s in ("decision", "proposal")]
    with pytest.raises(ModelError, match="lacks"):
        TwoStageCascade(*sessions)
