# SPDX-License-Identifier: Apache-2.0
"""The whole cascade as one network: made, compared, run by the detector, rejected if wrong."""

import json
import logging

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convert_to_trt import cascade_to_onnx
from convert_to_trt.cascade_settings import GraphSettings
from convert_to_trt.three_stage_graph import compose_cascade
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ImageError, ModelError
from mask_detector_ros.inference.tensorrt.typed_onnx import to_plain_layers
from mask_detector_ros.models import find_classifier, find_detector

SLOTS = ("--level-slots", "64", "--window-slots", "96", "--refine-slots", "64")
SIZE = ("--image", "256x256", "--min-face-size", "50")
SMALL = ("--detector-model", "mtcnn_masked", *SIZE, "--decide-slots", "24", *SLOTS)


def float_classifier(layout, side=32):
    """A classifier with float input in RGB: the mean over pixels gives two probabilities."""
    chance = np.random.default_rng(0)
    kernel = chance.normal(0, 3, (2, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["crops"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Softmax", ["flat"], ["probabilities"], axis=1),
    ]
    shape = ["n", side, side, 3]
    if layout == "NCHW":
        nodes[0] = helper.make_node("Identity", ["crops"], ["planes"])
        shape = ["n", 3, side, side]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size)]
        for name, size in (("crops", shape), ("probabilities", ["n", 2]))
    ]
    graph = helper.make_graph(
        nodes, "classifier", *ends, [numpy_helper.from_array(kernel, "kernel")]
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    metadata = {"labels": '["mask", "none"]', "margin": "0.1", "color": "RGB", "layout": layout}
    helper.set_model_props(model, {**metadata, "scale": str(1 / 127.5), "offset": "-1"})
    return model.SerializeToString()


def make(tmp_path, *options):
    path = tmp_path / "cascade.onnx"
    code = cascade_to_onnx.main(["-o", str(path), *SMALL, "--face-slots", "6", *options])
    return code, path


THREE_STAGES = ("--detector-model", "mtcnn_masked")


@pytest.fixture(scope="module")
def photos(tmp_path_factory, astronaut):
    folder = tmp_path_factory.mktemp("photos")
    half = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    both = np.hstack([half[:, 64:192], half[:, 191:63:-1]])
    for name, picture in (("one", astronaut), ("two", both), ("none", np.zeros_like(half))):
        cv2.imwrite(str(folder / f"{name}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    code, path = make(tmp_path_factory.mktemp("graph"))
    assert code == 0
    return path


def test_it_finds_what_the_cascade_finds(tmp_path, photos, capsys):
    code, path = make(tmp_path, "--photos", str(photos), "--json")
    report = json.loads(capsys.readouterr().out)
    assert code == 0
    assert path.is_file()
    agreement = report["agreement"]
    assert agreement["images"] == 3
    assert agreement["faces"] >= 2
    assert (agreement["missing"], agreement["extra"], agreement["labels"]) == (0, 0, 0)
    assert agreement["box_px"]["99%"] < 3


def test_a_photograph_that_is_one_line_of_pixels_is_compared(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "line.png"), np.zeros((1, 1000, 3), np.uint8))
    code, path = make(tmp_path, "--photos", str(folder))
    assert code == 0
    assert path.is_file()


def test_the_shipped_two_stage_cascade_finds_the_same_in_one_graph(tmp_path, photos, capsys):
    path = tmp_path / "cascade.onnx"
    options = ("--detector-model", "mtcnn_two_stage", *SIZE, "--photos", str(photos))
    assert cascade_to_onnx.main(["-o", str(path), *options]) == 0
    told = capsys.readouterr().out
    assert "3 faces, 0 missing, 0 extra, 0 labels differ" in told


def test_float16_finds_the_same(tmp_path, photos, capsys):
    code, path = make(tmp_path, *THREE_STAGES, "--photos", str(photos), "--half")
    assert code == 0
    assert "0 missing, 0 extra, 0 labels differ" in capsys.readouterr().out
    kinds = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert TensorProto.FLOAT16 in kinds


def test_it_holds_only_what_tensorrt_builds_everywhere(graph):
    content = to_plain_layers(graph.read_bytes(), graph.name)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model)
    operations = {node.op_type for node in model.graph.node}
    assert operations & {"NonMaxSuppression", "NonZero", "RoiAlign", "Loop", "If"} == set()
    # In float32 TensorRT-RTX has none of these for Turing.
    assert operations & {"Gemm", "MatMul"} == set()
    # Bytes must be cast before anything else.
    first = [node.op_type for node in model.graph.node if "image" in node.input]
    assert first == ["Cast"]


def test_the_detector_runs_it_by_parameter(graph, photos, caplog):
    caplog.set_level(logging.INFO)
    one = MaskDetector.load(detector_model=str(graph), threads=1)
    three = MaskDetector.load(threads=1, min_face_size=50, detector_model="mtcnn_masked")
    picture = cv2.imread(str(photos / "two.png"))
    found, expected = one(picture), three(picture)
    assert found.label_names == expected.label_names == one.label_names
    assert found.labels == expected.labels
    assert len(found) == 2
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.1)
    assert len(one(np.zeros((256, 256, 3), np.uint8))) == 0
    assert "holds classifier, min_face_size, thresholds and margin" in caplog.text


def test_max_faces_still_holds(graph, photos):
    detector = MaskDetector.load(detector_model=str(graph), threads=1, max_faces=1)
    assert len(detector(cv2.imread(str(photos / "two.png")))) == 1


def test_an_image_of_another_size_is_refused_with_the_way_to_convert(graph):
    detector = MaskDetector.load(detector_model=str(graph), threads=1)
    with pytest.raises(ImageError, match=r"images of 256x256, got 320x240.*--image 320x240"):
        detector(np.zeros((240, 320, 3), np.uint8))


def test_another_network_is_no_cascade(tmp_path):
    path = tmp_path / "pnet.onnx"
    path.write_bytes(find_detector("mtcnn")["pnet"])
    with pytest.raises(ModelError, match=r"not a single-file cascade .*cascade_to_onnx"):
        MaskDetector.load(detector_model=str(path))


def test_too_few_slots_are_said_once(tmp_path, astronaut, caplog):
    code, path = make(tmp_path, *THREE_STAGES, "--level-slots", "2", "--refine-slots", "6")
    detector = MaskDetector.load(detector_model=str(path), threads=1)
    picture = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    detector(picture)
    detector(picture)
    assert code == 0
    assert caplog.text.count("too few slots for this image") == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--image", "640"), "--image must have the form 640x480, got '640'"),
        (("--image", "0x480"), "--image must have the form"),
        (("--min-face-size", "5"), "min_face_size must be an integer from 12"),
        (("--min-face-size", "300"), "an image of 256x256 holds no face of 300 pixels"),
        (("--face-slots", "0"), "every number of slots must be 1 or more"),
        (
            (*THREE_STAGES, "--face-slots", "30"),
            "30 face slots need at least as many",
        ),
        (("--photos", "/nowhere"), "--photos must be a folder of images"),
        (("-o", "/nowhere/c.onnx"), "-o must name a file in a folder that exists"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path, capsys, options, reason):
    code, path = make(tmp_path, *options)
    error = capsys.readouterr().err
    assert code == 2
    assert reason in error
    assert error.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_classifier_of_another_kind_fits_in(layout, photos, tmp_path):
    classifier = float_classifier(layout)
    settings = GraphSettings(
        256,
        256,
        50,
        level_slots=64,
        window_slots=96,
        refine_slots=64,
        decide_slots=24,
        face_slots=6,
    )
    model = compose_cascade(find_detector("mtcnn_masked"), classifier, settings)
    path, own = tmp_path / "cascade.onnx", tmp_path / "own.onnx"
    path.write_bytes(model.SerializeToString())
    own.write_bytes(classifier)
    picture = cv2.imread(str(photos / "two.png"))
    found = MaskDetector.load(detector_model=str(path), threads=1)(picture)
    expected = MaskDetector.load(classifier_model=str(own), threads=1, min_face_size=50)(picture)
    assert found.label_names == expected.label_names
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.05)


def test_the_shipped_classifier_feeds_bytes():
    # What the tests above rest on: bytes in, so the graph must cast by itself.
    model = onnx.load_from_string(find_classifier("mask_classifier"))
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
