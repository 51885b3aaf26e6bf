# SPDX-License-Identifier: Apache-2.0
"""The node gives square colour crops; the graph converts them for networks that take other
input."""

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_networks import USUAL, classify, network, read_metadata  # noqa: E402

from convert_to_trt.conversion_parity import classify_crops  # noqa: E402
from mask_detector_ros.classifier import Classifier  # noqa: E402
from mask_detector_ros.inference import create_session  # noqa: E402

SIZES = {"wide": (12, 20), "tall": (20, 12)}


def seeing_places(height, width, channels, nchw, element=TensorProto.FLOAT):
    """A softmax of a weighted sum of all pixels, so that every position and channel matters."""
    shape = ["n", channels, height, width] if nchw else ["n", height, width, channels]
    count = height * width * channels
    weights = np.random.default_rng(3).normal(size=(count, 2)).astype(np.float32) / count**0.5
    nodes = [
        helper.make_node("Cast", ["image"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["values"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "dense"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "places",
        [helper.make_tensor_value_info("image", element, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "dense")],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8), weights


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("nchw", [False, True], ids=["NHWC", "NCHW"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_rectangular_input_is_resized_to_as_in_training(convert, size, nchw):
    height, width = size
    model, weights = seeing_places(height, width, 3, nchw)
    code, out, err, target = convert(model, *USUAL)
    assert code == 0, err
    assert f"resized to {width}x{height} in the graph" in out
    assert read_metadata(target)["input_size"] == "20"
    crops = np.random.default_rng(5).integers(0, 256, (3, 20, 20, 3), np.uint8)
    found = classify_crops(Classifier(create_session(target.read_bytes(), "out")), crops)
    resized = np.stack(
        [cv2.resize(crop[..., ::-1].astype(np.float32) / 255, (width, height)) for crop in crops]
    )
    values = resized.transpose(0, 3, 1, 2) if nchw else resized
    np.testing.assert_allclose(found, softmax(values.reshape(3, -1) @ weights), atol=1e-5)


@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.UINT8])
@pytest.mark.parametrize("nchw", [False, True], ids=["NHWC", "NCHW"])
def test_an_alpha_channel_is_opaque(convert, nchw, element):
    model, weights = seeing_places(8, 8, 4, nchw, element)
    code, out, err, target = convert(model, "--labels", "a,b", "--preprocess", "none")
    assert code == 0, err
    assert "an opaque alpha channel" in out
    crops = np.random.default_rng(5).integers(0, 256, (2, 8, 8, 3), np.uint8)
    found = classify_crops(Classifier(create_session(target.read_bytes(), "out")), crops)
    opaque = np.concatenate([crops[..., ::-1], np.full((2, 8, 8, 1), 255, np.uint8)], axis=3)
    values = opaque.transpose(0, 3, 1, 2) if nchw else opaque
    expected = softmax(values.reshape(2, -1).astype(np.float32) @ weights)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("channels", [2, 5])
def test_other_channels_are_an_error(convert, channels):
    code, _, err, _ = convert(seeing_places(8, 8, channels, False)[0], *USUAL)
    assert code == 1
    assert "not a batch of colour images" in err


@pytest.mark.parametrize("last", ["Identity", "Tanh", "Relu"])
def test_one_value_without_a_sigmoid_is_no_probability_wherever_it_lies(convert, last):
    # Its values lie between 0 and 1 for the crops that are tried.
    model = network(columns=1, last=last)
    for tensor in model.graph.initializer:
        if tensor.name == "dense":
            tensor.CopyFrom(numpy_helper.from_array(np.full((4, 1), 1e-3, np.float32), "dense"))
    code, _, err, target = convert(model, *USUAL)
    assert code == 1
    assert "without a sigmoid" in err
    assert not target.exists()


def test_a_complement_of_a_sigmoid_is_a_probability(convert):
    model = network(columns=1, last="Sigmoid")
    model.graph.node[-1].output[0] = "masked"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
    model.graph.node.append(helper.make_node("Sub", ["one", "masked"], ["out"]))
    assert convert(model, *USUAL)[0] == 0


def test_operations_of_one_runtime_are_an_error_that_names_them(convert):
    model = network()
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "QuickGelu", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    code, _, err, _ = convert(model, *USUAL)
    assert code == 1
    assert "ONNX lacks: com.microsoft.QuickGelu" in err


def test_functions_of_the_file_itself_are_inlined(convert):
    expected = classify(convert(network(), *USUAL)[3])
    model = network()
    last = model.graph.node[-1]
    nodes = [helper.make_node("Softmax", ["x"], ["y"])]
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("mine", "Ending", ["x"], ["y"], nodes, imports))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    last.op_type, last.domain = "Ending", "mine"
    code, _, err, target = convert(model, *USUAL)
    assert code == 0, err
    np.testing.assert_allclose(classify(target), expected, atol=1e-6)


def test_weights_in_another_file_are_read_and_missed(tmp_path):
    from convert_to_trt.onnx_models import read_onnx
    from mask_detector_ros.errors import ModelError

    path = tmp_path / "mine.onnx"
    onnx.save(network(), path, save_as_external_data=True, location="mine.bin", size_threshold=0)
    assert all(not tensor.external_data for tensor in read_onnx(path).graph.initializer)
    (tmp_path / "mine.bin").unlink()
    with pytest.raises(ModelError, match=r"weights in another file.*copy that file beside it"):
        read_onnx(path)
