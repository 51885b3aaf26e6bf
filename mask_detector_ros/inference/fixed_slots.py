# SPDX-License-Identifier: Apache-2.0
"""Single-file cascades with fixed shapes, which TensorRT and CUDA graphs need.

A graph of `convert_to_trt.cascade_to_onnx` cuts off its empty slots, since a CPU would compute
them all. The nodes that do so have names that start with `FREE_SLOTS`; without them the graph
computes the same with all slots.
"""

from __future__ import annotations

from mask_detector_ros.errors import ModelError

FREE_SLOTS = "free_slots"
"""Start of the names of nodes that change the number of slots."""


def has_free_slots(model: bytes) -> bool:
    """Whether a serialised ONNX model has such nodes."""
    return FREE_SLOTS.encode() in model


def to_fixed_slots(model: bytes, name: str) -> bytes:
    """The model with all slots.

    Args:
        model: serialised ONNX.
        name: its name in error messages.

    Raises:
        ModelError: the package onnx is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelError(
            f"{name} has a variable number of slots, which needs the Python package onnx to change"
            f" ({error}); do: pip install onnx, or make the file again with cascade_to_onnx"
            " --fixed-slots"
        ) from error
    network = onnx.load_from_string(model)
    for node in network.graph.node:
        if node.name.startswith(FREE_SLOTS):
            node.op_type, node.name = "Identity", ""
            del node.input[1:]
    content: bytes = network.SerializeToString()
    return content
