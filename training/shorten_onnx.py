# SPDX-License-Identifier: Apache-2.0
"""Shorten the exported graphs of the two-stage cascade: same outputs, fewer operations.

    python -m training.shorten_onnx models/proposal.onnx models/decision.onnx

torch computes shapes while the network runs and selects channels one by one. Each of these
operations takes 2 to 5 us on a CPU and a kernel launch on a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper


def shorten(model: onnx.ModelProto) -> None:
    """Shorten the ONNX graph of an exported proposal or decision network in place; a short one
    stays as it is."""
    graph = _Graph(model)
    names = {output.name for output in model.graph.output}
    if "landmarks" in names:
        _shorten_decision(graph)
    for name in sorted(names):
        if name.startswith("scores_"):
            _shorten_level(graph, name.removeprefix("scores_"))
    graph.finish()


class _Graph:
    """A model whose nodes are replaced from their outputs backwards."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._makers = {}
        for node in model.graph.node:
            if node.op_type == "Constant":
                (value,) = node.attribute
                self.constant(node.output[0], numpy_helper.to_array(value.t))
            else:
                self._makers.update(dict.fromkeys(node.output, node))

    def maker(self, name: str, *operations: str) -> onnx.NodeProto:
        """Find in the ONNX graph to shorten the node that makes a value, or the first of these
        operations on the way to it."""
        node = self._makers[name]
        while operations and node.op_type not in operations:
            node = self._makers[node.input[0]]
        return node

    def value(self, name: str) -> NDArray[np.float32]:
        """The value of a constant of the ONNX graph to shorten."""
        return self._constants[name]

    def constant(self, name: str, values: ArrayLike) -> str:
        """Add or replace a constant of the ONNX graph to shorten."""
        self._constants[name] = np.asarray(values)
        return name

    def add(self, operation: str, inputs: list[str], outputs: list[str], **attributes: int) -> None:
        """Add a node to the ONNX graph to shorten; it replaces the ones that made its outputs."""
        node = helper.make_node(operation, inputs, outputs, **attributes)
        self._makers.update(dict.fromkeys(outputs, node))

    def finish(self) -> None:
        """Write the nodes and constants that the shortened ONNX graph's outputs need, in order, to
        the model."""
        graph = self._model.graph
        nodes: list[onnx.NodeProto] = []
        constants: dict[str, onnx.TensorProto] = {}
        done = {tensor.name for tensor in graph.input}

        def visit(name: str) -> None:
            if not name or name in done:
                return
            if name in self._constants:
                constants[name] = numpy_helper.from_array(self._constants[name], name)
                done.add(name)
                return
            node = self._makers[name]
            for source in node.input:
                visit(source)
            done.update(node.output)
            nodes.append(node)

        for output in graph.output:
            visit(output.name)
        for field, values in ((graph.node, nodes), (graph.initializer, constants.values())):
            del field[:]
            field.extend(values)


def _shorten_level(graph: _Graph, stride: str) -> None:
    """Score and box of the cells of a level from its (N, 6, H, W) map."""
    scores, boxes = f"scores_{stride}", f"boxes_{stride}"
    power = graph.maker(scores)
    flat = graph.maker(graph.maker(boxes).input[0], "Reshape")
    if power.op_type != "Pow" or graph.maker(power.input[0]).op_type != "Mul":
        return
    rows = f"rows_{stride}"
    graph.add("Reshape", [flat.input[0], graph.constant("rows", np.array([0, 6, -1]))], [rows])
    parts = [f"logits_{stride}", f"moves_{stride}"]
    graph.add("Split", [rows, graph.constant("parts", np.array([2, 4]))], parts, axis=1)
    graph.add("Sigmoid", [parts[0]], [f"chances_{stride}"])
    product = f"product_{stride}"
    graph.add("ReduceProd", [f"chances_{stride}"], [product], axes=[1], keepdims=0)
    exponent = graph.constant("power", graph.value(power.input[1]))
    graph.add("Pow", [product, exponent], [scores])
    graph.add("Transpose", [parts[1]], [boxes], perm=[0, 2, 1])


def _shorten_decision(graph: _Graph) -> None:
    """The outputs of the last layer: calibration goes into it, and landmarks into its order."""
    tasks = graph.maker("scores", "Conv")
    if graph.maker("landmarks").op_type != "Transpose":
        return
    weight, bias = (graph.value(name).copy() for name in tasks.input[1:])
    labels = graph.maker("probabilities")
    added = graph.maker(labels.input[0])
    divided = graph.maker(added.input[0])
    scale = graph.value(divided.input[1])
    addend = graph.value(graph.maker("scores", "Add").input[1])
    weight[15:] /= scale
    bias[15:] = bias[15:] / scale + graph.value(added.input[1]).ravel()
    bias[0] += addend
    # Five x, then five y become pairs.
    order = np.r_[0:5, 5 + np.arange(10).reshape(2, 5).T.ravel(), 15 : len(bias)]
    graph.constant(tasks.input[1], weight[order])
    graph.constant(tasks.input[2], bias[order])
    joined = graph.maker(tasks.input[0], "Concat")
    mean = graph.maker(joined.input[1])
    graph.add("GlobalAveragePool", [mean.input[0]], list(mean.output))
    graph.add("Conv", [joined.output[0], *tasks.input[1:]], ["tasks"], kernel_shape=[1, 1])
    graph.add("Flatten", ["tasks"], ["flat_tasks"])
    parts = ["score_logits", "offsets", "points", "label_logits"]
    widths = graph.constant("widths", np.array([1, 4, 10, len(bias) - 15]))
    graph.add("Split", ["flat_tasks", widths], parts, axis=1)
    graph.add("Reshape", ["score_logits", graph.constant("flat", np.array([-1]))], ["score_row"])
    graph.add("Sigmoid", ["score_row"], ["scores"])
    graph.add("Reshape", ["points", graph.constant("pairs", np.array([0, 5, 2]))], ["landmarks"])
    graph.add("Softmax", ["label_logits"], ["probabilities"], axis=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Shorten files in place."""
    parser = argparse.ArgumentParser(prog="shorten_onnx", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.onnx")
    for path in parser.parse_args(argv).files:
        model = onnx.load(path)
        before = len(model.graph.node)
        shorten(model)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
        print(f"{path}: {before} nodes before, {len(model.graph.node)} now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
