# SPDX-License-Identifier: Apache-2.0
"""The first convolution of a network in a graph: on planes for a GPU, on rows of pixels for a CPU.

Rows need no transposition of the image. TensorRT-RTX builds that convolution badly for Turing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from convert_to_trt.graph_builder import GraphBuilder

_PLANES = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
_ROWS = {"kernel_shape": [3, 9], "strides": [2, 6], "pads": [1, 3, 1, 3]}


@dataclass(frozen=True)
class FirstLayer:
    """A 3x3 convolution with stride 2.

    Attributes:
        weights: (C, 3, 3, 3), output, input, rows and columns.
        bias: (C,).
        output: name of its output in the network.
    """

    weights: NDArray[Any]
    bias: NDArray[Any]
    output: str

    @classmethod
    def take_from(cls, model: onnx.ModelProto) -> FirstLayer | None:
        """Remove the cast, transposition and first convolution from a network for (N, H, W, 3)
        images; None for a network that begins in another way, which stays as it is."""
        nodes = list(model.graph.node[:3])
        if [node.op_type for node in nodes] != ["Cast", "Transpose", "Conv"]:
            return None
        layer = nodes[-1]
        attributes = {a.name: helper.get_attribute_value(a) for a in layer.attribute}
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        values = [numpy_helper.to_array(tensors[name]) for name in layer.input[1:]]
        is_known = all(attributes.get(name) == value for name, value in _PLANES.items())
        if not is_known or len(values) != 2 or values[0].shape[1] != 3:
            return None
        for part in nodes:
            model.graph.node.remove(part)
        for name in layer.input[1:]:
            model.graph.initializer.remove(tensors[name])
        return cls(*values, layer.output[0])

    def add(self, g: GraphBuilder, images: str) -> str:
        """ONNX graph nodes for the layer's output, from (N, H, W, 3) floats."""
        bias = g.constant(self.bias)

        def on_planes() -> list[str]:
            planes = g.add("Transpose", images, perm=[0, 3, 1, 2])
            return [g.add("Conv", planes, g.constant(self.weights), bias, **_PLANES)]

        def on_rows() -> list[str]:
            rows = g.add("Unsqueeze", g.reshape(images, 0, 0, -1), g.shape(1))
            weights = self.weights.transpose(0, 2, 3, 1).reshape(-1, 1, 3, 9)
            return [g.add("Conv", rows, g.constant(weights), bias, **_ROWS)]

        return g.either(on_planes, on_rows)[0]
