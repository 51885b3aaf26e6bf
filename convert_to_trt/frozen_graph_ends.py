# SPDX-License-Identifier: Apache-2.0
"""Find and clean up the input and output (the ends) of a frozen TensorFlow graph."""

from collections.abc import Sequence
from typing import Any

from convert_to_trt.loaded_network import reject_detector
from mask_detector_ros.errors import ModelError

_IMAGE_TYPES = (1, 2, 3, 4, 19)
"""float, double, int32, uint8 and half, as numbered in TensorFlow's types.proto."""

_DT_BOOL = 10

_ENDS_NOTHING = {"Const", "NoOp", "Assert", "Placeholder", "PlaceholderWithDefault", "VariableV2"}


def find_ends(
    graph: Any, inputs: Sequence[str], outputs: Sequence[str], name: str
) -> tuple[str, str]:
    """Find the names of the one input and the one output tensor of a frozen graph (GraphDef).

    Args:
        graph: the GraphDef.
        inputs, outputs: operation or tensor names given by the user; empty to find them: the only
            placeholder of an image type, and the only operation without consumers.
        name: the model's name in errors.

    Raises:
        ModelError: a name is not in the graph, or there is not exactly one tensor to choose.
    """
    if not inputs:
        inputs = [
            node.name
            for node in graph.node
            if node.op == "Placeholder"
            and node.attr["dtype"].type in _IMAGE_TYPES
            and _may_be_images(node)
        ]
    if not outputs:
        read = {_operation(source) for node in graph.node for source in node.input}
        outputs = [
            node.name
            for node in graph.node
            if node.name not in read and node.op not in _ENDS_NOTHING
        ]
    reject_detector(name, outputs)
    return _only(graph, inputs, "--inputs", name), _only(graph, outputs, "--outputs", name)


def settle_phase(graph: Any) -> None:
    """Replace a frozen graph's learning-phase placeholder, or any other boolean one, by False.

    Keras 1 and 2 use it to tell training from inference.
    """
    for node in graph.node:
        if node.op in ("Placeholder", "PlaceholderWithDefault") and (
            node.attr["dtype"].type == _DT_BOOL
        ):
            node.op = "Const"
            del node.input[:]
            node.attr.pop("shape", None)
            node.attr["value"].tensor.dtype = _DT_BOOL
            node.attr["value"].tensor.tensor_shape.SetInParent()
            node.attr["value"].tensor.bool_val.append(False)


def _may_be_images(node: Any) -> bool:
    """Whether a placeholder may hold a batch of images: four dimensions, or an unknown number."""
    shape = node.attr["shape"].shape
    return shape.unknown_rank or len(shape.dim) in (0, 4)


def free_batch(graph: Any, input_name: str) -> None:
    """Make the batch size of a frozen graph's input dynamic, in place."""
    node = next(node for node in graph.node if node.name == _operation(input_name))
    shape = node.attr["shape"].shape
    if shape.dim:
        shape.dim[0].size = -1
    # Shapes recorded in the file would contradict that.
    for other in graph.node:
        other.attr.pop("_output_shapes", None)


def _only(graph: Any, names: Sequence[str], option: str, model: str) -> str:
    if len(names) != 1:
        found = ", ".join(names[:8]) or "none"
        raise ModelError(
            f"{model} must have one candidate for {option}, found: {found}; name it with that "
            "option"
        )
    (name,) = names
    if _operation(name) not in {node.name for node in graph.node}:
        raise ModelError(f"{model} has no operation {name!r}, given as {option}")
    return name if ":" in name else f"{name}:0"


def _operation(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]
