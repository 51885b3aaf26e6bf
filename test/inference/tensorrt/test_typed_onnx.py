# SPDX-License-Identifier: Apache-2.0
"""Typed ONNX files: float16 computes nearly the same, 1x1 convolutions exactly the same."""

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmark.half_precision import round_values
from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.gpu_parity import LIMITS, check_parity
from mask_detector_ros.inference.tensorrt.profile import make_profile, parity_shapes
from mask_detector_ros.inference.tensorrt.typed_onnx import to_half, to_plain_layers
from mask_detector_ros.models import find_classifier, find_detector

NETWORKS = {**find_detector("mtcnn_masked"), "classifier": find_classifier("mask_classifier")}


def weights_of_layers(graph):
    """Type and name of the weights of each convolution and fully connected layer, in order."""
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    layers = [n for n in graph.node if n.op_type in ("Conv", "Gemm")]
    return [(kinds[n.input[1]], n.input[1]) for n in layers]


@pytest.mark.parametrize("name", NETWORKS)
def test_float16_keeps_the_ends_and_stays_close(name):
    model = NETWORKS[name]
    half = to_half(model, name)
    network = onnx.load_from_string(half)
    onnx.checker.check_model(network)
    kinds = [kind for kind, _ in weights_of_layers(network.graph)]
    assert (kinds[0], kinds[-1]) == (TensorProto.FLOAT, TensorProto.FLOAT)
    assert set(kinds[1:-1]) == {TensorProto.FLOAT16}
    reference = create_session(model, name, "onnxruntime", 1)
    session = create_session(half, name, "onnxruntime", 1)
    assert (session.inputs, session.metadata) == (reference.inputs, reference.metadata)
    shapes = parity_shapes(reference.inputs, make_profile(reference.inputs))
    largest = check_parity(session, reference, shapes[:3], "fp16")
    assert 0 < largest < LIMITS["fp16"] / 2


@pytest.mark.parametrize("name", NETWORKS)
def test_of_plain_layers_it_computes_the_same(name):
    model = NETWORKS[name]
    plain = to_plain_layers(model, name)
    network = onnx.load_from_string(plain)
    onnx.checker.check_model(network)
    assert "Gemm" not in {node.op_type for node in network.graph.node}
    kernels = {tensor.name: tuple(tensor.dims) for tensor in network.graph.initializer}
    convolutions = [n for n in network.graph.node if n.op_type == "Conv"]
    depthwise = [n.name for n in convolutions if kernels[n.input[1]][1:] == (1, 1, 1)]
    assert depthwise == []
    reference = create_session(model, name, "onnxruntime", 1)
    session = create_session(plain, name, "onnxruntime", 1)
    shapes = parity_shapes(reference.inputs, make_profile(reference.inputs))
    assert check_parity(session, reference, shapes[:3], "fp32") < 1e-5


def test_a_product_with_a_column_becomes_a_sum():
    shapes = {"matrix": [5, 4], "column": [4, 1], "product": [5, 1]}
    tensors = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()}
    nodes = [
        helper.make_node("Relu", ["column"], ["positive"]),
        helper.make_node("MatMul", ["matrix", "positive"], ["product"]),
    ]
    inputs = [tensors["matrix"], tensors["column"]]
    graph = helper.make_graph(nodes, "column", inputs, [tensors["product"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    plain = to_plain_layers(model.SerializeToString(), "column")
    assert "MatMul" not in {node.op_type for node in onnx.load_from_string(plain).graph.node}
    chance = np.random.default_rng(0)
    feeds = {n: chance.normal(size=shapes[n]).astype(np.float32) for n in ("matrix", "column")}
    found = create_session(plain, "column", "onnxruntime", 1).run(**feeds)["product"]
    np.testing.assert_allclose(found, feeds["matrix"] @ feeds["column"].clip(0), rtol=1e-6)


@pytest.mark.parametrize("change", [to_half, to_plain_layers])
def test_what_is_no_network_is_refused(change):
    with pytest.raises(ModelError, match="broken is damaged or not an ONNX file"):
        change(NETWORKS["rnet"][:5000], "broken")


def test_float16_of_a_batch_of_none_is_a_batch_of_none():
    session = create_session(to_half(NETWORKS["rnet"], "rnet"), "rnet", "onnxruntime", 1)
    assert session.run(images=np.empty((0, 3, 24, 24), np.float32))["scores"].shape == (0, 1)


def test_good_candidates_keep_scores_of_their_own(astronaut):
    # In float16 the scores next to 1 are 0.0005 apart, and suppression could not choose.
    corners = [(x, y) for x in range(165, 190, 4) for y in range(55, 75, 4)]
    crops = np.stack(
        [cv2.resize(astronaut[y : y + 110, x : x + 110], (48, 48)) for x, y in corners]
    )
    images = crops.transpose(0, 3, 1, 2)
    onet = find_detector("mtcnn")["onet"]  # the public weights, which no training changes
    exact, half = (
        create_session(model, "onet", "onnxruntime", 1).run(images=images)["scores"].ravel()
        for model in (onet, round_values(to_half(onet, "onet")))
    )
    good = exact > 0.999
    assert good.sum() >= 5
    rounded = exact[good].astype(np.float16)
    assert len(np.unique(half[good])) > 2 * len(np.unique(rounded))
    np.testing.assert_allclose(half, exact, atol=0.01)
