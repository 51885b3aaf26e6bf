# SPDX-License-Identifier: Apache-2.0
"""Write ONNX files whose types set TensorRT's precision. Needs the package onnx."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ModelError

try:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel
except ImportError as error:
    # Not a requirement of the backend: float32 works without it.
    raise ModelError(
        f"this TensorRT takes its types from the ONNX file, and rewriting that needs the Python"
        f" package onnx ({error}); do: pip install onnx"
    ) from error


_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""Operations with most of a network's weights and time."""


def to_half(model: bytes, name: str) -> bytes:
    """Convert an ONNX network to float16 types for TensorRT; inputs and outputs keep their types.

    Both ends stay in float32: up to the first layer, whose input has pixels of up to 255, and from
    the last layer on, since float16 has steps of 0.0005 near 1.

    Raises:
        ModelError: the network cannot be converted.
    """
    network = _read(model, name)
    for index, node in enumerate(network.graph.node):
        node.name = f"node{index}"  # may be missing, and the converter depends on it
    ends = _first_layers(network.graph) | _last_layers(network.graph)
    try:
        half = convert_float_to_float16(network, keep_io_types=True, node_block_list=ends)
        _remove_round_trips(half.graph)
        tidy = OnnxModel(half)
        tidy.prune_graph()
        # The converter appends its casts at the end of the file.
        tidy.topological_sort()
    except (ValueError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"{name} cannot be converted to float16 ({error}); use precision:=fp32"
        ) from error
    return bytes(half.SerializeToString())


def _first_layers(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes from the inputs to the first layer on each path."""
    reached, found = {tensor.name for tensor in graph.input}, set()
    for node in graph.node:
        if reached.intersection(node.input):
            found.add(node.name)
            if node.op_type not in _LAYERS:
                reached.update(node.output)
    return found


def _last_layers(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes from the last layer on each path to the outputs."""
    needed, found = {tensor.name for tensor in graph.output}, set()
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            found.add(node.name)
            if node.op_type not in _LAYERS:
                needed.update(node.input)
    return found


def _remove_round_trips(graph: onnx.GraphProto) -> None:
    """Bypass casts from float32 to float16 and back, which the converter puts around each node
    that it leaves unchanged."""
    kinds = {node.output[0]: node.attribute[0].i for node in graph.node if node.op_type == "Cast"}
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    for node in graph.node:
        is_up = kinds.get(node.output[0]) == TensorProto.FLOAT
        if is_up and kinds.get(node.input[0]) == TensorProto.FLOAT16:
            node.input[0] = sources[node.input[0]]


def to_plain_layers(model: bytes, name: str) -> bytes:
    """Replace the ONNX layers that TensorRT-RTX builds badly for Turing (SM75).

    Fully connected layers and products with a constant matrix on the left, which it lacks in
    float32, become 1x1 convolutions, and products with a column become sums. Depthwise 1x1
    convolutions become multiplications: with fixed input shapes, each of them would add zeros of
    three times its output size to the engine.

    Raises:
        ModelError: the content is not an ONNX model.
    """
    network = _read(model, name)
    graph = network.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    columns = _columns(network)
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        matrix = weights.get(node.input[1]) if len(node.input) > 1 else None
        replaced: list[onnx.NodeProto] = [node]
        constants: dict[str, NDArray[Any]] = {}
        if matrix is not None and _is_plain_gemm(node):
            kernel = matrix if _attributes(node).get("transB") else matrix.T
            replaced, constants = _convolution(node, kernel[:, :, None, None], index)
        elif node.op_type == "MatMul" and node.input[0] in weights:
            replaced, constants = _mixing(node, weights[node.input[0]][:, :, None, None], index)
        elif node.op_type == "MatMul" and node.input[1] in columns:
            replaced, constants = _weighted_sum(node, index)
        elif matrix is not None and _is_scaling(node, matrix):
            factors = f"factors{index}"
            replaced = [helper.make_node("Mul", [node.input[0], factors], list(node.output))]
            constants = {factors: matrix.reshape(-1, 1, 1)}
        nodes += replaced
        for key, values in constants.items():
            tensor = numpy_helper.from_array(np.ascontiguousarray(values), key)
            graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(nodes)
    OnnxModel(network).prune_graph()
    return bytes(network.SerializeToString())


def to_float_inputs(model: bytes, name: str) -> bytes:
    """Change uint8 inputs of an ONNX network to float32 with the same values, for TensorRT.

    Such a network casts its input first, and a cast from float32 changes nothing.

    Raises:
        ModelError: the content is not an ONNX model.
    """
    network = _read(model, name)
    for tensor in network.graph.input:
        if tensor.type.tensor_type.elem_type == TensorProto.UINT8:
            tensor.type.tensor_type.elem_type = TensorProto.FLOAT
    return bytes(network.SerializeToString())


Replacement = tuple[list[onnx.NodeProto], dict[str, NDArray[Any]]]
"""A graph's nodes, and its constants by name."""


def _convolution(node: onnx.NodeProto, kernel: NDArray[Any], index: int) -> Replacement:
    pixels, result, axes, weight = (f"{w}{index}" for w in ("pixels", "sums", "axes", "kernel"))
    nodes = [
        helper.make_node("Unsqueeze", [node.input[0], axes], [pixels]),
        helper.make_node("Conv", [pixels, weight, *node.input[2:]], [result]),
        helper.make_node("Flatten", [result], list(node.output)),
    ]
    return nodes, {axes: np.array([2, 3], np.int64), weight: kernel}


def _mixing(node: onnx.NodeProto, kernel: NDArray[Any], index: int) -> Replacement:
    """(M, K) times (B, K, N) as a convolution over K channels."""
    rows, result, axis, weight = (f"{w}{index}" for w in ("rows", "mixed", "axis", "kernel"))
    nodes = [
        helper.make_node("Unsqueeze", [node.input[1], axis], [rows]),
        helper.make_node("Conv", [rows, weight], [result]),
        helper.make_node("Squeeze", [result, axis], list(node.output)),
    ]
    return nodes, {axis: np.array([3], np.int64), weight: kernel}


def _weighted_sum(node: onnx.NodeProto, index: int) -> Replacement:
    """(M, K) times (K, 1) as a sum over K columns."""
    row, products, axis = (f"{w}{index}" for w in ("row", "products", "axis"))
    nodes = [
        helper.make_node("Transpose", [node.input[1]], [row], perm=[1, 0]),
        helper.make_node("Mul", [node.input[0], row], [products]),
        helper.make_node("ReduceSum", [products, axis], list(node.output), keepdims=1),
    ]
    return nodes, {axis: np.array([1], np.int64)}


def _columns(network: onnx.ModelProto) -> set[str]:
    """The values of shape (K, 1) that a product has on its right."""
    if all(node.op_type != "MatMul" for node in network.graph.node):
        return set()
    shapes = onnx.shape_inference.infer_shapes(network).graph.value_info
    dimensions = {value.name: value.type.tensor_type.shape.dim for value in shapes}
    return {name for name, d in dimensions.items() if len(d) == 2 and d[1].dim_value == 1}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _is_plain_gemm(node: onnx.NodeProto) -> bool:
    said = _attributes(node)
    factors = (said.get("alpha", 1.0), said.get("beta", 1.0))
    return node.op_type == "Gemm" and not said.get("transA") and factors == (1.0, 1.0)


def _is_scaling(node: onnx.NodeProto, kernel: NDArray[Any]) -> bool:
    """Whether a convolution only multiplies each channel by a number."""
    said = _attributes(node)
    is_depthwise = kernel.shape[1:] == (1, 1, 1) and said.get("group") == len(kernel)
    has_bias = len(node.input) > 2
    moves = {*said.get("strides", [1]), *(1 + pad for pad in said.get("pads", []))}
    return node.op_type == "Conv" and is_depthwise and not has_bias and moves == {1}


def _read(model: bytes, name: str) -> onnx.ModelProto:
    try:
        return onnx.load_from_string(model)
    except (DecodeError, ValueError) as error:
        raise ModelError(
            f"{name} is damaged or not an ONNX file ({error}); get it again"
        ) from error
