# SPDX-License-Identifier: Apache-2.0
"""Networks with other inputs and outputs are adapted to the node, and nonsense is rejected."""

import json

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_networks import SIDE, USUAL, between, classify, network, read_metadata  # noqa: E402

from convert_to_trt.conversion_parity import classify_crops  # noqa: E402
from convert_to_trt.face_crops import read_crops  # noqa: E402
from mask_detector_ros.classifier import Classifier  # noqa: E402
from mask_detector_ros.inference import create_session  # noqa: E402
from mask_detector_ros.label_roles import ROLES  # noqa: E402


def test_an_output_in_half_precision_becomes_one_in_single(convert):
    model = between(network(), "Cast", to=TensorProto.FLOAT16)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    code, out, err, target = convert(model, *USUAL)
    assert code == 0, err
    assert onnx.load(target).graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert "same label 100.0%" in out


@pytest.mark.parametrize(
    ("columns", "last", "shape"),
    [(1, "Sigmoid", ["n"]), (2, "Softmax", ["n", 2, 1, 1]), (1, "Sigmoid", ["n", 1, 1, 1])],
    ids=str,
)
def test_outputs_of_another_shape_are_rows_of_labels_all_the_same(convert, columns, last, shape):
    rows = classify(convert(network(columns=columns, last=last), *USUAL)[3])
    model = between(network(columns=columns, last=last), "Reshape")
    model.graph.node[-1].input.append("shape")
    wanted = np.array([-1, *(side for side in shape[1:])])
    model.graph.initializer.append(numpy_helper.from_array(wanted, "shape"))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("out", TensorProto.FLOAT, shape))
    code, _, err, target = convert(model, *USUAL)
    assert code == 0, err
    np.testing.assert_allclose(classify(target), rows, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        (network(), ["--logits"], "ends in a softmax already"),
        (network(last="Sigmoid", columns=1), ["--logits"], "ends in a sigmoid already"),
        (network(columns=1), [], "softmax over a single value"),
    ],
    ids=["logits of a softmax", "logits of a sigmoid", "softmax over one"],
)
def test_a_last_layer_that_makes_no_sense_is_a_failure(convert, model, options, reason):
    code, _, err, target = convert(model, *USUAL, *options)
    assert code == 1
    assert reason in err
    assert not target.exists()


@pytest.mark.parametrize("name", ["crops", "probabilities", "prepared_0", "head_one", "luma"])
def test_an_inner_value_may_have_a_name_that_the_result_gives(convert, name):
    expected = classify(convert(network(), *USUAL)[3])
    model = network()
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if value == "norm" else value for value in names]
    code, _, err, target = convert(model, *USUAL)
    assert code == 0, err
    np.testing.assert_allclose(classify(target), expected, atol=1e-6)


def taking(element):
    """The same network with an integer input."""
    model = network()
    model.graph.input[0].type.tensor_type.elem_type = element
    model.graph.node[0].input[0] = "floats"
    node = helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT)
    model.graph.node.insert(0, node)
    return model


@pytest.mark.parametrize("element", [TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64])
def test_an_input_of_whole_numbers_takes_pixels_and_reports_no_scale(convert, element):
    expected = classify(convert(network(), "--labels", "a,b", "--preprocess", "none")[3])
    code, out, err, target = convert(taking(element), *USUAL)
    assert code == 0, err
    assert "RGB pixels as they are" in out
    assert "no scale is used" in out
    assert (read_metadata(target)["scale"], read_metadata(target)["offset"]) == ("1.0", "0.0")
    np.testing.assert_allclose(classify(target), expected, atol=1e-5)
    assert convert(taking(element), "--labels", "a,b")[0] == 0


def seeing_grey(nchw):
    """A network with one channel: the softmax of the mean grey times two weights."""
    axes, shape = ([2, 3], ["n", 1, SIDE, SIDE]) if nchw else ([1, 2], ["n", SIDE, SIDE, 1])
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["mean", "dense"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "grey",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.float32([[1, -1]]), "dense")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("nchw", [False, True], ids=["NHWC", "NCHW"])
def test_a_network_that_sees_grey_is_given_it_in_the_graph(convert, nchw):
    code, out, err, target = convert(seeing_grey(nchw), *USUAL)
    assert code == 0, err
    assert "made grey in the graph" in out
    red = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    red[..., 2] = 255
    found = classify_crops(Classifier(create_session(target.read_bytes(), "grey")), red)
    assert np.log(found[0, 0] / found[0, 1]) == pytest.approx(2 * 0.299, abs=1e-3)


def seeing_channels(nchw):
    """A network whose logits are the means of its first two channels."""
    shape = ["n", 3, SIDE, SIDE] if nchw else ["n", SIDE, SIDE, 3]
    model = seeing_grey(nchw)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, shape))
    dense = numpy_helper.from_array(np.float32([[1, 0], [0, 1], [0, 0]]), "dense")
    model.graph.initializer[0].CopyFrom(dense)
    return model


CHANNELS = {
    "imagenet": (["--preprocess", "imagenet"], [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224]),
    "caffe": (["--preprocess", "caffe"], [0 - 103.939, 0 - 116.779]),
    "mean and std": (["--mean", "0.5", "--std", "0.25,0.5,1"], [2, -1]),
    "mean of pixels": (["--mean", "127.5,0,0", "--std", "127.5,1,1"], [1, 0]),
    "after unit": (["--preprocess", "unit", "--mean", "0.5", "--std", "0.5"], [1, -1]),
    "BGR": (["--mean", "0.5", "--std", "0.5", "--color", "BGR"], [-1, -1]),
}


@pytest.mark.parametrize("nchw", [False, True], ids=["NHWC", "NCHW"])
@pytest.mark.parametrize(("options", "logits"), CHANNELS.values(), ids=CHANNELS)
def test_a_mean_for_each_channel_is_written_into_the_graph(convert, nchw, options, logits):
    code, out, err, target = convert(seeing_channels(nchw), "--labels", "a,b", *options)
    assert code == 0, err
    assert "in the graph" in out
    red = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    red[..., 2] = 255
    found = classify_crops(Classifier(create_session(target.read_bytes(), "mean")), red)
    powers = np.exp(np.array(logits) - max(logits))
    np.testing.assert_allclose(found[0], powers / powers.sum(), atol=1e-4)


def scaling_by_itself(scale, offset):
    model = network()
    model.graph.node[0].input[0] = "scaled"
    for name, value in (("by", scale), ("plus", offset)):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    model.graph.node.insert(0, helper.make_node("Mul", ["image", "by"], ["times"]))
    model.graph.node.insert(1, helper.make_node("Add", ["times", "plus"], ["scaled"]))
    return model


@pytest.mark.parametrize("preprocess", ["unit", "mobilenet_v2", "imagenet"])
@pytest.mark.parametrize("scale", [1 / 255, 1 / 127.5])
def test_scaling_twice_is_an_error(convert, preprocess, scale):
    model = scaling_by_itself(scale, -1.0)
    code, _, err, target = convert(model, "--labels", "a,b", "--preprocess", preprocess)
    assert code == 2
    assert "scales its input by itself" in err
    assert "--preprocess none" in err
    assert not target.exists()


def test_a_network_that_scales_by_itself_needs_no_preprocessing(convert):
    model = scaling_by_itself(1 / 255, 0.0)
    code, _, err, target = convert(model, "--labels", "a,b")
    assert code == 0, err
    assert read_metadata(target)["scale"] == "1.0"


def test_one_of_several_outputs_is_said_by_name(convert):
    model = network()
    model.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n", 4]))
    code, _, err, _ = convert(model, *USUAL)
    assert code == 1
    assert "choose one with --outputs: out of (?, 2); flat of (?, 4)" in err
    assert convert(model, *USUAL, "--outputs", "elsewhere")[0] == 1
    code, _, err, target = convert(model, *USUAL, "--outputs", "out")
    assert code == 0, err
    np.testing.assert_allclose(classify(target), classify(convert(network(), *USUAL)[3]))


def test_labels_may_stand_in_a_file_and_roles_be_said(convert, tmp_path):
    labels = tmp_path / "crops"
    labels.mkdir()
    (labels / "names.txt").write_text("0 bedeckt\n1 offen\n", encoding="utf-8")
    options = ["--labels", str(labels / "names.txt"), "--preprocess", "unit"]
    code, out, err, target = convert(network(), *options)
    assert code == 0, err
    assert json.loads(read_metadata(target)["labels"]) == ["bedeckt", "offen"]
    assert "say it with --roles" in out
    code, _, err, target = convert(network(), *options, "--roles", "with_mask,-")
    assert code == 0, err
    assert json.loads(read_metadata(target)["roles"]) == ["with_mask", None]
    code, _, err, _ = convert(network(), *options, "--roles", "with_mask")
    assert code == 2
    assert "--roles takes" in err


@pytest.mark.parametrize(
    ("folders", "known"),
    [
        (("with_mask", "No Mask"), True),
        (("train/with_mask/a", "val/No Mask/b"), True),
        (("monday", "tuesday"), False),
    ],
    ids=["one for each label", "deeper", "of other names"],
)
def test_crops_may_lie_in_folders(convert, tmp_path, noise, folders, known):
    for name in folders:
        (tmp_path / "crops" / name).mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(tmp_path / "crops" / name / f"{i}.png"), noise[i:])
    code, out, err, _ = convert(network(), *USUAL, "--crops", str(tmp_path / "crops"))
    assert code == 0, err
    assert "6 face crops" in out
    read = read_crops(tmp_path / "crops", ("with_mask", "without_mask"), ROLES[:2])
    assert sorted(read.roles) == (sorted(ROLES[:2] * 3) if known else [])
