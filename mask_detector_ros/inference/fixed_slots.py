# SPDX-License-Identifier: Apache-2.0
"""Single-file cascades with fixed shapes, which TensorRT and CUDA graphs need.

Where the work depends on the frame, a graph of `convert_to_trt.cascade_to_onnx` has an If whose
name starts with `FREE_SLOTS`. Its first branch computes the same in a fixed number of slots.
"""

from mask_detector_ros.errors import ModelError

FREE_SLOTS = "free_slots"
"""Start of the names of these nodes."""


def has_free_slots(model: bytes) -> bool:
    """Whether a serialised single-file cascade has nodes for a variable number of slots."""
    return FREE_SLOTS.encode() in model


def to_fixed_slots(model: bytes, name: str) -> bytes:
    """Convert a single-file cascade to a fixed number of slots, whatever the image.

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
    waiting, nodes = list(network.graph.node), []
    while waiting:
        node = waiting.pop(0)
        if not node.name.startswith(FREE_SLOTS):
            nodes.append(node)
            continue
        branch = next(a.g for a in node.attribute if a.name == "then_branch")
        network.graph.initializer.extend(branch.initializer)
        same = [
            onnx.helper.make_node("Identity", [value.name], [output])
            for value, output in zip(branch.output, node.output, strict=True)
        ]
        # A branch may hold such nodes, too.
        waiting[:0] = [*branch.node, *same]
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    content: bytes = network.SerializeToString()
    return content
