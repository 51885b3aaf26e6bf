# SPDX-License-Identifier: Apache-2.0
"""Merge the output heads of a proposal network: one chain of nodes for the cells of all strides.

The head of each stride ends in the same nodes on its own map. On a GPU each node of this size takes
some microseconds, whatever it computes.
"""

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

OUTPUTS = ("scores", "boxes")


def merge_heads(model: onnx.ModelProto, strides: Sequence[int]) -> None:
    """Replace the outputs of a proposal network for each stride by `scores` (1, P) and `boxes`
    (1, P, 4) for the cells of all strides, in the order of the strides.

    Heads whose last nodes are equal share them.
    """
    graph = model.graph
    tails = [_tail(graph, [f"{name}_{stride}" for name in OUTPUTS]) for stride in strides]
    constants = {tensor.name for tensor in graph.initializer}
    kinds = [[_kind(node, constants) for node in tail] for tail in tails]
    nodes, first = list(graph.node), strides[0]
    if tails[0] and all(kind == kinds[0] for kind in kinds):
        maps = [tail[0].input[0] for tail in tails]
        merged = helper.make_node("Concat", maps, ["maps"], axis=2)
        tails[0][0].input[0] = "maps"
        gone = {id(node) for tail in tails for node in tail}
        nodes = [*(node for node in nodes if id(node) not in gone), merged, *tails[0]]
        nodes += [helper.make_node("Identity", [f"{name}_{first}"], [name]) for name in OUTPUTS]
    else:
        for name in OUTPUTS:
            parts = [f"{name}_{stride}" for stride in strides]
            nodes.append(helper.make_node("Concat", parts, [name], axis=1))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.output[:]
    graph.node.extend(copies)
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS
    )


def _tail(graph: onnx.GraphProto, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes from the Split of a (1, C, P) map by its channels to the outputs, in order; empty
    if a head has another form."""
    makers = {output: node for node in graph.node for output in node.output}
    waiting, found = list(outputs), set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and id(node) not in found:
            found.add(id(node))
            waiting += [] if node.op_type == "Split" else node.input
    tail = [node for node in graph.node if id(node) in found]
    splits = [node for node in tail if node.op_type == "Split"]
    return tail if splits == tail[:1] else []


def _kind(node: onnx.NodeProto, constants: set[str]) -> tuple[str, list[bytes], list[str]]:
    """What a node computes, apart from its inputs that are no constants."""
    attributes = sorted(attribute.SerializeToString() for attribute in node.attribute)
    return node.op_type, attributes, [name for name in node.input if name in constants]
