# SPDX-License-Identifier: Apache-2.0
"""The classifier: crops of all faces, one batch, probabilities."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mask_detector_ros import classifier as module
from mask_detector_ros.classifier import Classifier
from mask_detector_ros.errors import ModelError
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference import create_session
from mask_detector_ros.models import find_classifier

LABELS = ["blue", "green", "red"]
SIDE = 8
ELEMENTS = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def color_network(
    color="BGR",
    layout="NHWC",
    element="uint8",
    scale=1.0,
    offset=0.0,
    batch="n",
    without="",
    **metadata,
):
    """A network that names the dominant colour of a crop, fed in the given way."""
    shape = [batch, SIDE, SIDE, 3] if layout == "NHWC" else [batch, 3, SIDE, SIDE]
    axes = [1, 2] if layout == "NHWC" else [2, 3]
    # Undoes what the metadata promise of the input, so that all forms compute the same.
    weights = np.eye(3, dtype=np.float32)[:: 1 if color == "BGR" else -1] / (50 * scale)
    bias = np.full(3, -offset / (50 * scale), np.float32)
    nodes = [
        helper.make_node("Cast", ["crops"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=axes, keepdims=0),
        helper.make_node("Gemm", ["means", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("crops", ELEMENTS[element], shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    told = {"labels": json.dumps(LABELS), "margin": 0.0, "color": color, "layout": layout}
    told |= {"scale": scale, "offset": offset, **metadata}
    helper.set_model_props(model, {k: str(v) for k, v in told.items() if k != without})
    return onnx.ModelProto.SerializeToString(model)


def load(model):
    return Classifier(create_session(model, "colors.onnx", threads=1))


def faces_at(boxes):
    boxes = np.array(boxes, np.float32)
    return Faces(boxes, np.ones(len(boxes)), np.zeros((len(boxes), 5, 2)))


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(1).integers(0, 256, (60, 90, 3), np.uint8)


@pytest.fixture(scope="module")
def faces():
    corner = np.random.default_rng(2).uniform(-10, 60, (20, 2))
    return faces_at(np.hstack([corner, corner + 20]))


def test_each_face_gets_the_probabilities_of_its_own_crop():
    picture = np.zeros((40, 120, 3), np.uint8)
    for place, channel in enumerate([2, 0, 1]):
        picture[:, 40 * place : 40 * place + 40, channel] = 255
    faces = load(color_network())(
        picture, faces_at([[5, 5, 35, 35], [45, 5, 75, 35], [85, 5, 115, 35]])
    )
    assert faces.label_names == tuple(LABELS)
    assert faces.labels == ["red", "blue", "green"]
    np.testing.assert_allclose(faces.probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "form",
    [
        {"color": "RGB"},
        {"layout": "NCHW"},
        {"element": "float32"},
        {"element": "float32", "scale": 1 / 255, "offset": -0.5},
        {
            "color": "RGB",
            "layout": "NCHW",
            "element": "float32",
            "scale": 1 / 127.5,
            "offset": -1.0,
        },
    ],
    ids=str,
)
def test_however_the_network_wants_its_input_the_answer_is_the_same(picture, faces, form):
    expected = load(color_network())(picture, faces).probabilities
    given = load(color_network(**form))(picture, faces).probabilities
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_one_batch_answers_as_one_face_at_a_time(astronaut):
    shipped = Classifier(create_session(find_classifier("mask_classifier"), "shipped", threads=1))
    faces = faces_at([[180, 60, 267, 173], [0, 0, 80, 90], [400, 300, 560, 460], [5, 5, 5, 5]])
    together = shipped(astronaut, faces).probabilities
    alone = [shipped(astronaut, faces[i]).probabilities for i in range(len(faces))]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


def test_a_crowd_is_split_into_batches_without_changing_the_answer(picture, faces, monkeypatch):
    expected = load(color_network())(picture, faces).probabilities
    monkeypatch.setattr(module, "BATCH_LIMIT", 7)
    np.testing.assert_array_equal(load(color_network())(picture, faces).probabilities, expected)


def test_no_faces_stay_no_faces_but_know_the_labels(picture):
    faces = load(color_network())(picture, Faces.empty())
    assert len(faces) == 0
    assert faces.label_names == tuple(LABELS)
    assert faces.probabilities.shape == (0, 3)


def test_the_margin_is_the_networks_own_unless_one_is_given():
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[..., 2] = 255
    picture[20:40, 20:40] = (255, 0, 0)
    face = faces_at([[20, 20, 40, 40]])
    wide, narrow = load(color_network(margin=1.0)), load(color_network(margin=0.0))
    assert wide(picture, face).labels == ["red"]
    assert narrow(picture, face).labels == ["blue"]
    assert wide(picture, face, margin=0.0).labels == ["blue"]
    assert narrow(picture, face, margin=1.0).labels == ["red"]


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        *(
            ({"without": name}, f"'{name}'")
            for name in ("labels", "margin", "color", "layout", "scale", "offset")
        ),
        ({"labels": "with mask, without mask"}, "lacks usable metadata"),
        ({"labels": '"red"'}, "must be a JSON list"),
        ({"labels": '["a", "a", "b"]'}, "different names"),
        ({"labels": '["yes", "no"]'}, "names 2 labels"),
        ({"margin": "nan"}, "margin nan"),
        ({"margin": -1}, r"margin -1\.0"),
        ({"margin": "wide"}, "lacks usable metadata"),
        ({"color": "GRAY"}, "'GRAY'"),
        ({"layout": "HWC"}, "'HWC'"),
        ({"layout": "NHWC", "batch": 1}, "any number of square colour crops"),
        ({"element": "int64"}, "must take uint8, float16 or float32"),
    ],
    ids=str,
)
def test_a_network_that_does_not_say_how_to_feed_it_is_refused(form, reason):
    with pytest.raises(ModelError, match=rf"colors\.onnx .*{reason}.*a mask classifier carries"):
        load(color_network(**form))


def test_metadata_that_contradict_the_input_are_refused():
    model = onnx.load_model_from_string(color_network(layout="NHWC"))
    for entry in model.metadata_props:
        if entry.key == "layout":
            entry.value = "NCHW"
    with pytest.raises(ModelError, match="any number of square colour crops"):
        load(model.SerializeToString())


def test_roles_come_from_the_metadata_and_else_from_the_names():
    told = json.dumps(["with_mask", "without_mask", None])
    classifier = load(color_network(roles=told))
    assert classifier.label_roles == ("with_mask", "without_mask", "")
    faces = classifier(np.zeros((20, 20, 3), np.uint8), Faces([[0, 0, 9, 9]], [1], [[[0, 0]] * 5]))
    assert faces.label_roles == classifier.label_roles
    named = load(color_network(labels=json.dumps(["Sin máscara", "0 Mask", "background"])))
    assert named.label_roles == ("without_mask", "with_mask", "")


@pytest.mark.parametrize("roles", ["{", '["with_mask"]', '["x", null, null]'])
def test_unusable_roles_are_an_error(roles):
    with pytest.raises(ModelError, match="metadata"):
        load(color_network(roles=roles))
