"""The shipped mask classifier keeps its contract and sees what it should."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mask_detector_ros.crops import crop_squares
from training.face_data import LABELS
from training.synthetic_masks import paint_mask

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


def test_a_portrait_it_never_saw_is_bare_and_with_a_painted_mask_is_masked(session):
    portrait = pytest.importorskip("skimage.data", reason="needs the extra `sample`").astronaut()
    image = np.ascontiguousarray(portrait[..., ::-1])
    box = np.array([181, 68, 271, 182], np.float32)
    margin = float(session.get_modelmeta().custom_metadata_map["margin"])
    masked = [paint_mask(image, box, np.random.default_rng(seed)) for seed in range(10)]
    crops = np.concatenate([crop_squares(face, box[None], 96, margin) for face in (image, *masked)])
    (rows,) = session.run(None, {"crops": crops})
    predicted = [LABELS[index] for index in rows.argmax(axis=1)]
    assert predicted[0] == "without_mask"
    assert predicted[1:].count("with_mask") >= 9
