# SPDX-License-Identifier: Apache-2.0
"""Merged heads of a proposal network give the outputs of all strides, one after the other."""

import collections

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from two_stage_networks import proposal_network

from convert_to_trt.merged_heads import merge_heads
from mask_detector_ros.models import find_detector


def run(model, image):
    content = model if isinstance(model, bytes) else model.SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: image}), strict=True))


@pytest.mark.parametrize("form", ["shipped", "of another form"])
def test_the_outputs_are_those_of_all_strides(form):
    shipped = form == "shipped"
    strides = (8, 16, 32) if shipped else (8, 16)
    content = find_detector("mtcnn_two_stage")["proposal"] if shipped else proposal_network()
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    apart = run(content, image)
    model = onnx.load_from_string(content)
    merge_heads(model, strides)
    found = run(model, image)
    assert set(found) == {"scores", "boxes"}
    for name, values in found.items():
        expected = np.concatenate([apart[f"{name}_{stride}"] for stride in strides], axis=1)
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def operations(model):
    return collections.Counter(node.op_type for node in model.graph.node)


def test_equal_heads_share_their_last_nodes():
    model = onnx.load_from_string(find_detector("mtcnn_two_stage")["proposal"])
    before = operations(model)
    merge_heads(model, (8, 16, 32))
    after = operations(model)
    assert (before["Sigmoid"], after["Sigmoid"]) == (3, 1)
    assert (before["Pow"], after["Pow"]) == (3, 1)


def test_heads_with_other_constants_stay_apart():
    model = onnx.load_from_string(find_detector("mtcnn_two_stage")["proposal"])
    (power,) = (node for node in model.graph.node if node.output[0] == "scores_16")
    other = onnx.numpy_helper.from_array(np.float32(1), "other")
    model.graph.initializer.append(other)
    power.input[1] = "other"
    expected = run(model, image := np.full((1, 64, 96, 3), 90, np.uint8))["scores_16"]
    merge_heads(model, (8, 16, 32))
    assert operations(model)["Pow"] == 3
    cells = 12 * 8
    np.testing.assert_allclose(run(model, image)["scores"][:, cells : cells + 24], expected)
