# SPDX-License-Identifier: Apache-2.0
"""ONNX files that give the same outputs for every image."""

import onnx
from onnx import TensorProto, helper, numpy_helper


def write_constants(path, shape, **outputs):
    """A network of one float32 input `input` of this shape, and of float32 arrays by name."""
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in outputs.items()
    ]
    results = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
        for name, value in outputs.items()
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "constants", [image], results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path
