# SPDX-License-Identifier: Apache-2.0
"""MTCNN's training data: harvested crops, and augmented photographs."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("onnx", reason="needs the extra `train`")

from mask_detector_ros.imaging.boxes import bbox_regression  # noqa: E402
from mask_detector_ros.models import find_detector  # noqa: E402
from mask_detector_ros.mtcnn.loading import load_cascade  # noqa: E402
from mask_detector_ros.sources.sample_scene import SampleScene  # noqa: E402
from training.mtcnn_augmentation import paint_masks, rescale  # noqa: E402
from training.mtcnn_data import (  # noqa: E402
    NEGATIVE,
    PART,
    POSITIVE,
    UNUSED,
    harvest,
    jitter_squares,
    judge_squares,
)
from training.mtcnn_networks import SIDES  # noqa: E402
from training.mtcnn_settings import Settings  # noqa: E402
from training.settings_file import read_settings  # noqa: E402
from training.train_mtcnn import SETTINGS_FILE  # noqa: E402
from training.two_stage.photographs import Photograph  # noqa: E402

SETTINGS = read_settings(Settings, SETTINGS_FILE)


@pytest.fixture(scope="module")
def scene():
    """A frame of the sample scene and its faces in the form of a labelled photograph."""
    frame, truth = SampleScene().render(0)
    names = ["with_mask", "without_mask", "mask_worn_incorrectly"]
    labels = np.array([names.index(label) for label in truth.labels])
    return frame, Photograph(Path("scene"), "some", truth.boxes, labels)


@pytest.fixture(scope="module")
def stock():
    return load_cascade(find_detector("mtcnn"), "onnxruntime", threads=1)


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("stage", SIDES)
def test_harvested_offsets_lead_from_the_square_to_a_face(stage, changed, scene, stock):
    image, photograph = scene
    found = harvest(
        stage,
        SIDES[stage],
        image,
        photograph,
        stock,
        stock,
        SETTINGS,
        np.random.default_rng(0),
        changed=changed,
    )
    assert found.crops.shape[1:] == (SIDES[stage], SIDES[stage], 3)
    faces = found.kinds == POSITIVE
    assert faces.any()
    assert (found.kinds == NEGATIVE).any()
    assert (found.labels[found.kinds == NEGATIVE] == -1).all()
    unit = np.tile(np.array([[0, 0, 1, 1]], np.float32), (faces.sum(), 1))
    width, height = (
        bbox_regression(unit, found.offsets[faces]) @ [[-1, 0], [0, -1], [1, 0], [0, 1]]
    ).T
    # The square that overlaps a face's own square by 0.55 is at most 1 / 0.55 of its area.
    assert np.maximum(width, height).min() > 0.7
    assert np.maximum(width, height).max() < 1.4


def test_a_jittered_square_stays_near_its_face():
    square = np.array([[100, 100, 200, 200]], np.float32)
    jittered = jitter_squares(square, 50, np.random.default_rng(0))
    sides = jittered[:, 2:] - jittered[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], rtol=1e-4)
    assert (np.abs(jittered[:, :2] + sides / 2 - 150) <= 20).all()


@pytest.mark.parametrize(
    ("candidate", "kind"),
    [
        ([100, 100, 200, 200], POSITIVE),
        ([110, 110, 210, 210], POSITIVE),  # overlap 0.68
        ([125, 110, 225, 210], PART),  # 0.51
        ([143, 110, 243, 210], UNUSED),  # 0.34, neither face nor background
        ([200, 200, 300, 300], NEGATIVE),
        ([410, 400, 510, 500], UNUSED),  # on a face that may lack a label
        ([300, 100, 308, 108], UNUSED),  # on a face too small to teach
        ([250, 20, 258, 28], UNUSED),  # too small
    ],
)
def test_a_square_is_judged_by_its_overlap_with_the_nearest_face(candidate, kind):
    faces = np.array([[300, 100, 308, 108], [100, 100, 200, 200]], np.float32)
    unlabelled = np.array([[400, 400, 500, 500]], np.float32)
    kinds, nearest = judge_squares(np.array([candidate], np.float32), faces, unlabelled, SETTINGS)
    assert kinds.tolist() == [kind]
    if kind in (POSITIVE, PART):
        assert nearest.tolist() == [1]


def test_masks_are_painted_on_bare_faces_only(scene):
    image, _ = scene
    labels = np.array([1, 0, 2])
    boxes = np.array([[60, 60, 120, 130], [200, 60, 260, 130], [340, 60, 400, 130]], np.float32)
    painted, now = paint_masks(image, boxes, labels, 1.0, np.random.default_rng(0))
    assert now[0] in (0, 2)
    assert now[1:].tolist() == [0, 2]
    changed = np.flatnonzero((painted != image).any(axis=(0, 2)))
    assert len(changed) > 0
    assert changed.max() < 200


def test_boxes_stay_on_their_faces_when_a_photograph_is_scaled(scene):
    image, photograph = scene
    scaled, boxes = rescale(image, photograph.boxes, np.random.default_rng(0))
    factors = np.tile(np.array(scaled.shape[1::-1]) / image.shape[1::-1], 2)
    np.testing.assert_allclose(boxes, photograph.boxes * factors, rtol=1e-5)
