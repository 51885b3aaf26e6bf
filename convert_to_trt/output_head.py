# SPDX-License-Identifier: Apache-2.0
"""The output head of a classifier: convert the network's output to one probability per label."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from convert_to_trt.onnx_inputs_outputs import PREFIX
from mask_detector_ros.errors import ModelError

_SUM_TOLERANCE = 0.01

FLOOR = 1e-4
"""Added to each sigmoid before division by their sum, which may be near 0."""

_PASS = (
    *("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
    *("QuantizeLinear", "DequantizeLinear", "Dropout"),
)
"""Operations after the activation that change no value, or only its precision."""

_LINEAR = ("MatMul", "Gemm", "Conv")
_UNBOUNDED = (
    *(*_LINEAR, "Relu", "LeakyRelu", "Elu", "Selu", "Softplus", "Tanh", "BatchNormalization"),
)
"""Last operations whose values are not probabilities, wherever they lie for some crops."""

_INDICES = ("ArgMax", "TopK")
"""Operations that give the number of a label."""

_SIGMOIDS = ("Sigmoid", "HardSigmoid")
_ENDS = ("Softmax", "LogSoftmax", *_SIGMOIDS, *_INDICES)


@dataclass(frozen=True)
class Head:
    """The output head: how the values of a network become probabilities.

    Attributes:
        columns: number of values per crop.
        rank: number of dimensions of its output.
        step: `softmax` or `sigmoid` if the network lacks it, `normalise` if it ends in several
            sigmoids, empty if its values are probabilities.
        scores: name of the values before the final activation; empty if unknown.
    """

    columns: int
    rank: int = 2
    step: str = ""
    scores: str = ""

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Apply the same step as `add_to` to values of the original network.

        Returns:
            (N, K) or (N, 2) float32. One output p becomes 1 - p and p.
        """
        values = np.asarray(values, np.float64).reshape(len(values), -1)
        if self.step == "sigmoid":
            values = 1 / (1 + np.exp(-values))
        elif self.step == "softmax":
            powers = np.exp(values - values.max(axis=1, keepdims=True))
            values = powers / powers.sum(axis=1, keepdims=True)
        elif self.step == "normalise":
            values = (values + FLOOR) / (values + FLOOR).sum(axis=1, keepdims=True)
        if values.shape[1] == 1:
            values = np.hstack([1 - values, values])
        return values.astype(np.float32)

    def from_scores(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(N, K) probabilities of `scores`, in a precision that keeps them from being 0 or 1."""
        values = np.asarray(values, np.float64).reshape(len(values), -1)
        if self.columns == 1:
            values = np.hstack([0 * values, values])
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def add_to(self, model: onnx.ModelProto) -> None:
        """Add the output head to a network in place: `probabilities`, float32 (batch, K)."""
        graph = model.graph
        value = graph.output[0].name
        if graph.output[0].type.tensor_type.elem_type != TensorProto.FLOAT:
            value = _add(graph, "Cast", [value], "head_float", to=TensorProto.FLOAT)
        if self.rank == 1:
            shape = helper.make_tensor("head_column", TensorProto.INT64, [2], [-1, 1])
            graph.initializer.append(shape)
            value = _add(graph, "Reshape", [value, "head_column"], "head_rows")
        elif self.rank > 2:
            value = _add(graph, "Flatten", [value], "head_rows", axis=1)
        if self.step in ("sigmoid", "softmax"):
            value = _add(graph, self.step.capitalize(), [value], "head_activation")
        elif self.step == "normalise":
            graph.initializer.append(_number("head_floor", FLOOR))
            raised = _add(graph, "Add", [value, "head_floor"], "head_raised")
            ones = helper.make_tensor(
                "head_ones", TensorProto.FLOAT, [self.columns, 1], [1.0] * self.columns
            )
            graph.initializer.append(ones)
            total = _add(graph, "MatMul", [raised, "head_ones"], "head_sum")
            value = _add(graph, "Div", [raised, total], "head_normalised")
        if self.columns == 1:
            graph.initializer.append(_number("head_one", 1.0))
            other = _add(graph, "Sub", ["head_one", value], "head_complement")
            value = _add(graph, "Concat", [other, value], "head_both", axis=1)
        _add(graph, "Identity", [value], "probabilities")
        shape_out: list[str | int | None] = ["batch", max(self.columns, 2)]
        output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape_out)
        del graph.output[:]
        graph.output.append(output)

    @property
    def note(self) -> str:
        """A note for the user about the output head; may be empty."""
        if self.step != "normalise":
            return ""
        return (
            f"the network ends in {self.columns} sigmoids, which do not add up to 1: each is"
            " divided by their sum"
        )


def choose_head(
    model: onnx.ModelProto, values: NDArray[Any], logits: bool, name: str, is_onnx: bool = True
) -> Head:
    """Choose the output head of a network: how its values become probabilities.

    Args:
        model: the network.
        values: output of the original for some crops, one row each.
        logits: whether the user says that the last layer has no softmax or sigmoid.
        name: the model's name in errors.
        is_onnx: whether the user's file is ONNX, so that `--outputs` takes its inner values.

    Raises:
        ModelError: they cannot be probabilities, or contradict `logits`.
    """
    if sum(side != 1 for side in values.shape[1:]) > 1:
        raise ModelError(
            f"{name} gives {values.shape[1:]} for one crop; a mask classifier gives one row, with"
            " one value for each label"
        )
    columns, rank = int(np.prod(values.shape[1:])), values.ndim
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    activation, scores = find_end(model)
    before = f" --outputs {scores.removeprefix(PREFIX)}" if is_onnx else ""
    if activation in _INDICES:
        raise ModelError(
            f"{name} gives the number of a label, not one probability for each: it ends in"
            f" {activation}; export it without that operation"
            f"{before and f', or choose the values before it with{before}'}"
        )
    if not np.isfinite(rows).all():
        raise ModelError(f"{name} gives values that are not finite; check --scale and --offset")
    if activation == "Softmax" and columns == 1:
        raise ModelError(
            f"{name} ends in a softmax over a single value, which is 1 for every crop: it has"
            " learnt nothing; train it with Dense(1, 'sigmoid') or Dense(2, 'softmax')"
        )
    if activation == "LogSoftmax":
        # Softmax of the logarithms of probabilities gives the probabilities.
        return Head(columns, rank, "softmax", model.graph.output[0].name)
    if activation == "Softmax" and rows.min() >= 0 and not _are_distributions(rows):
        raise ModelError(
            f"{name} ends in a softmax that does not run over the labels, so that they do not add"
            " up to 1 for a crop; correct its axis and export it again"
            f"{before and f', or choose the values before it with --logits{before}'}"
        )
    if logits and activation:
        raise ModelError(
            f"{name} ends in a {activation.lower()} already, and --logits would add another;"
            " leave --logits out"
        )
    if logits and columns > 1 and _are_distributions(rows):
        raise ModelError(
            f"{name} gives probabilities already, they add up to 1; leave --logits out"
        )
    if logits:
        step = "sigmoid" if columns == 1 else "softmax"
        return Head(columns, rank, step, model.graph.output[0].name)
    last = find_last(model)
    if columns == 1 and last in _UNBOUNDED:
        raise ModelError(
            f"{name} gives one value and ends in {last} without a sigmoid, so that the value is no"
            " probability; if it was trained so (from_logits=True), add --logits"
        )
    if columns > 1 and activation in _SIGMOIDS:
        return Head(columns, rank, "normalise", scores)
    require_probabilities(Head(columns, rank)(values), name)
    return Head(columns, rank, scores=scores)


def find_end(model: onnx.ModelProto) -> tuple[str, str]:
    """The final activation of a network (Softmax, LogSoftmax, Sigmoid, HardSigmoid), or the choice
    of a label (ArgMax, TopK), and the name of its input; empty for none."""
    makers = {output: node for node in model.graph.node for output in node.output}
    node = _last_node(model, makers)
    if node is not None and node.op_type in _ENDS:
        return node.op_type, node.input[0]
    if node is not None and node.op_type == "Div":
        powers = [_exponential(source, makers) for source in node.input]
        if all(powers):
            return "Softmax", powers[0].input[0]
    return "", ""


def find_last(model: onnx.ModelProto) -> str:
    """Find the type of the last operation that changes a network's output, without its bias; empty
    for none."""
    makers = {output: node for node in model.graph.node for output in node.output}
    node = _last_node(model, makers)
    if node is not None and node.op_type == "Add":
        sources = [makers[name] for name in node.input if name in makers]
        node = next((source for source in sources if source.op_type in _LINEAR), node)
    return "" if node is None else str(node.op_type)


def _last_node(model: onnx.ModelProto, makers: dict[str, Any]) -> Any:
    node = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type in _PASS:
        node = makers.get(node.input[0])
    return node


def _exponential(value: str, makers: dict[str, Any]) -> Any:
    """The operation exp(x) that a value is, or is the sum of; None for other values."""
    node = makers.get(value)
    while node is not None and node.op_type in ("ReduceSum", *_PASS):
        node = makers.get(node.input[0])
    return node if node is not None and node.op_type == "Exp" else None


def _are_distributions(rows: NDArray[np.float64]) -> bool:
    return bool(rows.min() >= 0 and np.abs(rows.sum(axis=1) - 1).max() < 1e-3)


def require_probabilities(values: NDArray[np.float32], name: str) -> None:
    """Raise ModelError if the (N, K) outputs of a converted classifier cannot be probabilities.

    Raises:
        ModelError: they cannot; the message describes them.
    """
    if not np.isfinite(values).all():
        raise ModelError(f"{name} gives values that are not finite; check --scale and --offset")
    if values.min() < -_SUM_TOLERANCE or values.max() > 1 + _SUM_TOLERANCE:
        raise ModelError(
            f"{name} gives values from {values.min():.3g} to {values.max():.3g}, which are no"
            " probabilities; if its last layer has no softmax or sigmoid, add --logits"
        )
    if np.abs(values.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        raise ModelError(
            f"{name} gives values that do not add up to 1; a mask classifier gives one"
            " probability for each label; if its last layer has no softmax, add --logits"
        )


def _number(name: str, value: float) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, [1], [value])


def _add(graph: Any, operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
    graph.node.append(helper.make_node(operation, inputs, [output], output, **attributes))
    return output
