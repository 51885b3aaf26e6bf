# SPDX-License-Identifier: Apache-2.0
"""Small mask classifiers as ONNX files of another tool, and readers for converted ones."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convert_to_trt.conversion_parity import classify_crops
from mask_detector_ros.classifier import Classifier
from mask_detector_ros.inference import create_session

SIDE = 8
USUAL = ["--labels", "with_mask,without_mask", "--preprocess", "unit"]


def network(*, nchw=False, batch=0, columns=2, last="Softmax", side=SIDE, second_input=False):
    """Convolution, batch normalisation, pooling, dense and `last`."""
    chance = np.random.default_rng(1)
    weights = {
        "kernel": chance.normal(size=(4, 3, 3, 3)),
        **{name: chance.uniform(0.5, 2, 4) for name in ("gamma", "beta", "mean", "variance")},
        "dense": chance.normal(size=(4, columns)),
    }
    nodes = [
        helper.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "kernel"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["conv", "gamma", "beta", "mean", "variance"], ["norm"]
        ),
        helper.make_node("GlobalAveragePool", ["norm"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["logits"]),
        helper.make_node(last, ["logits"], ["out"]),
    ]
    if nchw:
        nodes[0] = helper.make_node("Identity", ["image"], ["first"])
    shape = ["n", 3, side, side] if nchw else ["n", side, side, 3]
    if batch:
        shape[0] = batch
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    if second_input:
        inputs.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))
    graph = helper.make_graph(
        nodes,
        "network",
        inputs,
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch or "n", columns])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def classify(path, count=1):
    """Classify crops of noise as the node does."""
    crops = np.random.default_rng(5).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    return classify_crops(Classifier(create_session(path.read_bytes(), path.name)), crops)


def between(model, operation, **attributes):
    """Insert one more operation before a network's output."""
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node(operation, ["before"], ["out"], **attributes))
    return model


def read_metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
