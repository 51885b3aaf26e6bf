# SPDX-License-Identifier: Apache-2.0
"""Let the first convolution of a network read images as they lie in memory."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


def read_rows(model: onnx.ModelProto) -> None:
    """Turn the 3x3 convolution with stride 2 of transposed (N, H, W, 3) images into the same one of
    a single channel, (N, 1, H, 3 W), which needs no transposition.

    A network that begins in another way stays as it is.
    """
    graph = model.graph
    cast, transpose, convolution = graph.node[:3]
    values = {a.name: helper.get_attribute_value(a) for a in convolution.attribute}
    wanted = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    kinds = [node.op_type for node in graph.node[:3]]
    if kinds != ["Cast", "Transpose", "Conv"] or any(values.get(k) != v for k, v in wanted.items()):
        return
    weights = next(t for t in graph.initializer if t.name == convolution.input[1])
    rows = numpy_helper.to_array(weights).transpose(0, 2, 3, 1)
    if rows.shape[1:] != (3, 3, 3):
        return
    rows = rows.reshape(len(rows), 1, 3, 9)
    weights.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(rows), weights.name))
    shape = numpy_helper.from_array(np.array([0, 0, -1], np.int64), "rows_shape")
    axis = numpy_helper.from_array(np.array([1], np.int64), "rows_axis")
    graph.initializer.extend([shape, axis])
    flat = helper.make_node("Reshape", [cast.output[0], "rows_shape"], ["flat_rows"])
    single = helper.make_node("Unsqueeze", ["flat_rows", "rows_axis"], list(transpose.output))
    sizes = {"kernel_shape": [3, 9], "strides": [2, 6], "pads": [1, 3, 1, 3]}
    layer = helper.make_node("Conv", list(convolution.input), list(convolution.output), **sizes)
    del graph.node[1:3]
    for node in (layer, single, flat):
        graph.node.insert(1, node)
