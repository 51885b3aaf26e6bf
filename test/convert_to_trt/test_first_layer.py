# SPDX-License-Identifier: Apache-2.0
"""A first convolution that reads rows of pixels computes what it computes on planes."""

import numpy as np
import onnx
import pytest
from graph_runs import run

from convert_to_trt.first_layer import FirstLayer
from convert_to_trt.graph_builder import GraphBuilder
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.fixed_slots import to_fixed_slots
from mask_detector_ros.models import find_detector


def test_rows_give_what_planes_give():
    chance = np.random.default_rng(0)
    weights = chance.standard_normal((4, 3, 3, 3)).astype(np.float32)
    layer = FirstLayer(weights, np.arange(4, dtype=np.float32), "first")
    images = chance.uniform(size=(2, 8, 10, 3)).astype(np.float32)
    g = GraphBuilder()
    outputs = {"found": (layer.add(g, "images"), (2, 4, 4, 5))}
    found = run(g, {"images": images}, outputs)["found"]
    inputs = {"images": (onnx.TensorProto.FLOAT, images.shape)}
    planes = to_fixed_slots(g.finish(inputs, outputs, 17, 8).SerializeToString(), "planes")
    wanted = create_session(planes, "planes", "onnxruntime", 1).run(images=images)["found"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    nodes = onnx.load_from_string(planes).graph.node
    assert [node.op_type for node in nodes if node.op_type != "Identity"] == ["Transpose", "Conv"]


@pytest.mark.parametrize("network", ["proposal", "decision"])
def test_both_shipped_networks_begin_with_it(network):
    model = onnx.load_from_string(find_detector("mtcnn_two_stage")[network])
    before = len(model.graph.node)
    layer = FirstLayer.take_from(model)
    assert layer.weights.shape == (16, 3, 3, 3)
    assert len(model.graph.node) == before - 3
    assert layer.output in model.graph.node[0].input


def test_another_network_stays_as_it_is():
    model = onnx.load_from_string(find_detector("mtcnn")["rnet"])
    before = model.SerializeToString()
    assert FirstLayer.take_from(model) is None
    assert model.SerializeToString() == before
