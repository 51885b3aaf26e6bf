"""ONNX files whose own types say what TensorRT computes in. Needs the package onnx."""

from __future__ import annotations

import numpy as np

from mask_detector_ros.errors import ModelError

try:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import helper, numpy_helper
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel
except ImportError as error:
    # Not of the backend: in float32 it can do without.
    raise ModelError(
        f"this TensorRT takes its types from the ONNX file, and rewriting that needs the Python"
        f" package onnx ({error}); do: pip install onnx"
    ) from error


def to_half(model: bytes, name: str) -> bytes:
    """The same network in float16, with the inputs and outputs that it had.

    Args:
        model: a serialised ONNX model in float32.
        name: what to call it in errors.

    Raises:
        ModelError: the network cannot be converted.
    """
    graph = _read(model, name)
    try:
        half = convert_float_to_float16(graph, keep_io_types=True)
        # The converter leaves its casts at the end of the file.
        OnnxModel(half).topological_sort()
    except (ValueError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"{name} cannot be turned into float16 ({error}); use precision:=fp32"
        ) from error
    content: bytes = half.SerializeToString()
    return content


def gemm_to_convolution(model: bytes, name: str) -> bytes:
    """The same network with its fully connected layers as 1x1 convolutions.

    TensorRT-RTX has no fully connected layer in float32 for Turing (SM75).

    Raises:
        ModelError: this is no network.
    """
    network = _read(model, name)
    graph = network.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for index, node in enumerate(graph.node):
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        is_plain = (
            node.op_type == "Gemm"
            and node.input[1] in weights
            and not attributes.get("transA")
            and attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
        )
        if not is_plain:
            nodes.append(node)
            continue
        matrix = numpy_helper.to_array(weights[node.input[1]])
        if not attributes.get("transB"):
            matrix = matrix.T
        kernel = f"convolution_kernel{index}"
        graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(matrix)[:, :, None, None], kernel)
        )
        graph.initializer.append(
            numpy_helper.from_array(np.array([2, 3], np.int64), f"pixel_axes{index}")
        )
        pixels, result = f"pixels{index}", f"convolved{index}"
        nodes += [
            helper.make_node("Unsqueeze", [node.input[0], f"pixel_axes{index}"], [pixels]),
            helper.make_node("Conv", [pixels, kernel, *node.input[2:]], [result]),
            helper.make_node("Flatten", [result], list(node.output)),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    content: bytes = network.SerializeToString()
    return content


def _read(model: bytes, name: str) -> onnx.ModelProto:
    try:
        return onnx.load_from_string(model)
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{name} is damaged or no ONNX file ({error}); get it again") from error
