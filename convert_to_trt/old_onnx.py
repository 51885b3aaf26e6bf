# SPDX-License-Identifier: Apache-2.0
"""Rewrite what early ONNX files hold and today's ONNX lacks, such as Custom Vision's of 2018."""

from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from onnx import helper, numpy_helper

from mask_detector_ros.errors import ModelError

FREE_INITIALIZERS_IR = 4
"""The first IR version whose weights need not be listed among the inputs."""


OLDEST_OPSET = 7
"""The first version of the ONNX operations that ONNX Runtime reads, of ONNX 1.2 (2018)."""


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operations in an ONNX model."""
    return next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), 1)


def modernise(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Rewrite an early ONNX model, so that today's checker and runtimes read it.

    It drops the rule that weights are inputs, replaces the experimental `ImageScaler`, and
    translates operations of before ONNX 1.2.

    Raises:
        ModelError: its operations cannot be translated.
    """
    model.ir_version = max(model.ir_version, FREE_INITIALIZERS_IR)
    graph = model.graph
    for i, node in reversed(list(enumerate(graph.node))):
        if node.op_type == "ImageScaler" and node.domain == "":
            replacement = _scale_and_add(graph, node)
            del graph.node[i]
            for new in reversed(replacement):
                graph.node.insert(i, new)
    opset = opset_of(model)
    if opset >= OLDEST_OPSET:
        return model
    try:
        modern: onnx.ModelProto = onnx.version_converter.convert_version(model, OLDEST_OPSET)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{name} was written before ONNX 1.2 (opset {opset}), with operations that no version"
            " since has; export the model again"
        ) from error
    return modern


def _scale_and_add(graph: Any, node: Any) -> list[Any]:
    """The `Mul` and `Add` that an `ImageScaler` of (N, C, H, W) images stands for."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    name = node.output[0]
    bias = np.array(given.get("bias", [0.0]), np.float32)[:, None, None]
    scale = np.array([given.get("scale", 1.0)], np.float32)
    tensors = ((scale, f"{name}/scale"), (bias, f"{name}/bias"))
    graph.initializer.extend(numpy_helper.from_array(*tensor) for tensor in tensors)
    return [
        helper.make_node("Mul", [node.input[0], f"{name}/scale"], [f"{name}/scaled"]),
        helper.make_node("Add", [f"{name}/scaled", f"{name}/bias"], [name]),
    ]
