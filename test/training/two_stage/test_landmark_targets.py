# SPDX-License-Identifier: Apache-2.0
"""The detector that gives a face its landmarks."""

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

from mask_detector_ros import MaskDetector
from training.mask_augmentation import WITHOUT_MASK
from training.two_stage.landmark_targets import match_landmarks, with_landmarks
from training.two_stage.photographs import Photograph, read_photographs
from training.two_stage.proposal_network import ProposalNetwork

BOX = np.array([[21, 17, 60, 66]], np.float32)
NOTHING = np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)


def finder(value):
    return lambda image: (BOX, np.full((1, 5, 2), value, np.float32))


@pytest.fixture
def photographs(folder):
    return {p.path.name: p for p in read_photographs(folder, "train")}


@pytest.mark.parametrize(
    ("bare", "masked", "wanted"),
    [
        pytest.param(finder(1), finder(2), 1, id="a bare face's are the cascade's"),
        pytest.param(lambda image: NOTHING, finder(2), 2, id="or YuNet's"),
    ],
)
def test_landmarks_of_a_bare_face(photographs, bare, masked, wanted):
    image = np.zeros((96, 96, 3), np.uint8)
    found = match_landmarks(photographs["bare.png"], image, bare, masked)
    assert (found[0] == wanted).all()
    assert np.isnan(found[1]).all()


def test_a_masked_face_takes_those_of_yunet(photographs):
    photograph = photographs["low.png"]
    image = np.zeros((96, 96, 3), np.uint8)
    boxes = photograph.boxes
    near = lambda value: lambda image: (boxes, np.full((1, 5, 2), value, np.float32))  # noqa: E731
    assert (match_landmarks(photograph, image, near(1), near(2)) == 2).all()


def test_found_landmarks_are_read_again(folder, tmp_path):
    photographs = read_photographs(folder, "train")
    cache = tmp_path / "landmarks.npz"
    np.savez(cache, **{"bare.png": np.ones((2, 5, 2), np.float32)})
    read = {p.path.name: p for p in with_landmarks(photographs, None, cache)}
    assert (read["bare.png"].landmarks == 1).all()
    assert np.isnan(read["low.png"].landmarks).all()


def test_a_bare_face_gets_the_landmarks_of_mtcnn_masked(astronaut, tmp_path):
    cv2.imwrite(str(tmp_path / "portrait.png"), astronaut)
    faces = MaskDetector.load(detector_model="mtcnn_masked", min_face_size=16, threads=1)(astronaut)
    kinds = np.array([WITHOUT_MASK], np.int8)
    photograph = Photograph(tmp_path / "portrait.png", "some", faces.boxes[:1], kinds)
    network = ProposalNetwork("n").eval()
    (found,) = with_landmarks([photograph], network, tmp_path / "landmarks.npz")
    np.testing.assert_allclose(found.landmarks, faces.landmarks[:1], atol=1e-3)
