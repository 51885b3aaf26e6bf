# SPDX-License-Identifier: Apache-2.0
"""GraphBuilder: builds ONNX graphs from nodes, constants and embedded networks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from mask_detector_ros.inference.fixed_slots import FREE_SLOTS


class GraphBuilder:
    """Builds an ONNX graph; every value gets a unique name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._tensors: list[onnx.TensorProto] = []
        self._parts: dict[tuple[str, str], str] = {}
        self._count = 0

    def unique(self, what: str) -> str:
        """Make a name that no other value or node of the graph has."""
        self._count += 1
        return f"{what.lower()}_{self._count}"

    def many(self, operation: str, inputs: list[str], count: int, **attributes: Any) -> list[str]:
        """Add an ONNX node with several outputs; return their names."""
        outputs = [self.unique(operation) for _ in range(count)]
        self.nodes.append(helper.make_node(operation, inputs, outputs, **attributes))
        return outputs

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Add an ONNX node with one output; return its name."""
        return self.many(operation, list(inputs), 1, **attributes)[0]

    def choose(
        self,
        condition: str,
        then: Callable[[], Sequence[str]],
        otherwise: Callable[[], Sequence[str]],
        name: str,
    ) -> list[str]:
        """Add an ONNX If; both branches add their nodes and return the names of their float32
        values."""
        nodes, tensors, branches = self.nodes, self._tensors, []
        constants, parts = self._constants, self._parts
        for make in (then, otherwise):
            # Constants of a branch stay in it: ONNX Runtime rearranges the weights of a graph only.
            self.nodes, self._tensors = [], []
            self._constants, self._parts = dict(constants), dict(parts)
            made = [helper.make_tensor_value_info(v, TensorProto.FLOAT, None) for v in make()]
            branches.append(helper.make_graph(self.nodes, name, [], made, self._tensors))
        self.nodes, self._tensors = nodes, tensors
        self._constants, self._parts = constants, parts
        first, second = branches
        return self.many(
            "If", [condition], len(first.output), then_branch=first, else_branch=second, name=name
        )

    def either(
        self, fixed: Callable[[], Sequence[str]], free: Callable[[], Sequence[str]]
    ) -> list[str]:
        """Add two ways to the same float32 values: one of fixed shapes, which `to_fixed_slots`
        selects, and one whose work depends on the frame, which runtimes select."""
        never = self.constant(False, np.bool_)
        return self.choose(never, fixed, free, self.unique(FREE_SLOTS))

    def repeat(self, times: str, make: Callable[[str], str]) -> str:
        """Add an ONNX Loop to the graph and stack its float32 results.

        Args:
            times: () int64 number of rounds.
            make: adds the nodes of a round, from its () int64 number; returns its result's name.
        """
        nodes, self.nodes = self.nodes, []
        number, on = self.unique("number"), self.unique("on")
        result = helper.make_tensor_value_info(make(number), TensorProto.FLOAT, None)
        still = helper.make_tensor_value_info(self.add("Identity", on), TensorProto.BOOL, ())
        feeds = [
            helper.make_tensor_value_info(number, TensorProto.INT64, ()),
            helper.make_tensor_value_info(on, TensorProto.BOOL, ()),
        ]
        body = helper.make_graph(self.nodes, self.unique("round"), feeds, [still, result])
        self.nodes = nodes
        return self.add("Loop", times, self.constant(True, np.bool_), body=body)

    def scan(self, value: str, shape: Sequence[int], make: Callable[[str], str]) -> str:
        """Add an ONNX Scan to the graph and stack its float32 results.

        Args:
            value: uint8, (N, *shape).
            make: adds the nodes for one of the N parts; returns its result's name.
        """
        nodes, self.nodes = self.nodes, []
        part = self.unique("part")
        result = helper.make_tensor_value_info(make(part), TensorProto.FLOAT, None)
        feed = helper.make_tensor_value_info(part, TensorProto.UINT8, shape)
        body = helper.make_graph(self.nodes, self.unique("part_graph"), [feed], [result])
        self.nodes = nodes
        return self.add("Scan", value, body=body, num_scan_inputs=1)

    def constant(self, values: ArrayLike, dtype: type = np.float32) -> str:
        """Return the name of a constant of the graph; equal ones are stored once."""
        array = np.asarray(values, dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = self.unique("constant")
            self._tensors.append(numpy_helper.from_array(array, name))
        return self._constants[key]

    def shape(self, *sizes: int) -> str:
        """Return the name of a constant shape of the graph."""
        return self.constant(sizes, np.int64)

    def reshape(self, value: str, *sizes: int) -> str:
        """Add an ONNX Reshape."""
        return self.add("Reshape", value, self.shape(*sizes))

    def embed(self, model: onnx.ModelProto, name: str, feeds: Mapping[str, str]) -> dict[str, str]:
        """Embed a network in the graph; return the names of its outputs.

        Args:
            model: the network.
            name: the same network embedded again under the same name shares its weights.
            feeds: the value for each of its inputs.
        """
        names = dict(feeds)
        for tensor in model.graph.initializer:
            key = (name, tensor.name)
            if key not in self._parts:
                self._parts[key] = self.unique(name)
                copy = onnx.TensorProto()
                copy.CopyFrom(tensor)
                copy.name = self._parts[key]
                self._tensors.append(copy)
            names[tensor.name] = self._parts[key]
        for node in model.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [names[i] if i else "" for i in node.input]
            for output in node.output:
                names[output] = self.unique(name)
            copy.output[:] = [names[o] for o in node.output]
            copy.name = ""
            self.nodes.append(copy)
        return {output.name: names[output.name] for output in model.graph.output}

    def finish(
        self,
        inputs: Mapping[str, tuple[int, tuple[int, ...]]],
        outputs: Mapping[str, tuple[str, tuple[int, ...]]],
        opset: int,
        ir_version: int,
    ) -> onnx.ModelProto:
        """Return the finished ONNX model.

        Args:
            inputs: element type and shape by name.
            outputs: the value and its shape by name; all are float32.
            opset, ir_version: versions of the file.
        """
        named = [helper.make_node("Identity", [v], [n]) for n, (v, _) in outputs.items()]
        graph = helper.make_graph(
            [*self.nodes, *named],
            "cascade",
            [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
            [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
                for n, (_, shape) in outputs.items()
            ],
            self._tensors,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
        )
