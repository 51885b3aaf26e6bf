# SPDX-License-Identifier: Apache-2.0
"""The shipped mask classifier keeps its contract and labels test images correctly."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from mask_detector_ros.imaging.crops import crop_squares
from training.mask_data import LABELS

MODEL = Path(__file__).parents[2] / "models" / "mask_classifier.onnx"


@pytest.fixture(scope="module")
def session():
    return onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])


def test_it_takes_uint8_crops_and_gives_a_probability_a_label(session):
    (crops,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (crops.name, crops.type, crops.shape) == ("crops", "tensor(uint8)", ["batch", 96, 96, 3])
    assert (probabilities.name, probabilities.shape) == ("probabilities", ["batch", 3])


def test_its_metadata_name_the_labels_and_the_form_of_the_crops(session):
    metadata = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(metadata["labels"])) == LABELS
    form = {key: metadata[key] for key in ("color", "layout", "scale", "offset")}
    assert form == {"color": "BGR", "layout": "NHWC", "scale": "1.0", "offset": "0.0"}
    assert {"title", "license", "source", "margin"} <= set(metadata)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_flat_crops_give_finite_rows_that_sum_to_one(session, value, count):
    crops = np.full((count, 96, 96, 3), value, np.uint8)
    (rows,) = session.run(None, {"crops": crops})
    assert rows.shape == (count, 3)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-5)


def test_a_crop_gets_the_same_probabilities_alone_and_in_a_batch(session):
    crops = np.random.default_rng(0).integers(0, 256, (6, 96, 96, 3), np.uint8)
    (together,) = session.run(None, {"crops": crops})
    alone = np.concatenate([session.run(None, {"crops": crop[None]})[0] for crop in crops])
    np.testing.assert_allclose(together, alone, atol=1e-4)


COLORS = [(240, 240, 240), (220, 190, 120), (30, 30, 30), (60, 60, 200), (80, 160, 60)]


@pytest.fixture(scope="module")
def portrait():
    data = pytest.importorskip("skimage.data", reason="needs the extra `sample`")
    return np.ascontiguousarray(data.astronaut()[..., ::-1])


def draw_mask(portrait, top: int, color) -> np.ndarray:
    """The astronaut with a plain mask from height `top` to the chin; her nose ends at 135."""
    corners = [(190, top + 8), (226, top), (262, top + 8), (258, 165), (236, 182), (215, 182)]
    image = portrait.copy()
    cv2.fillPoly(image, [np.array([*corners, (194, 165)])], color, cv2.LINE_AA)
    return image


def labels_of(session, images) -> set[str]:
    box = np.array([[181, 68, 271, 182]], np.float32)
    margin = float(session.get_modelmeta().custom_metadata_map["margin"])
    crops = np.concatenate([crop_squares(image, box, 96, margin) for image in images])
    return {LABELS[index] for index in session.run(None, {"crops": crops})[0].argmax(axis=1)}


def test_a_portrait_it_never_saw_is_bare(session, portrait):
    assert labels_of(session, [portrait]) == {"without_mask"}


def test_a_drawn_mask_over_nose_and_mouth_is_worn_in_every_color(session, portrait):
    images = [draw_mask(portrait, top=119, color=color) for color in COLORS]
    assert labels_of(session, images) == {"with_mask"}


def test_a_drawn_mask_below_the_nose_is_worn_incorrectly_in_every_color(session, portrait):
    images = [draw_mask(portrait, top=148, color=color) for color in COLORS]
    assert labels_of(session, images) == {"mask_worn_incorrectly"}
