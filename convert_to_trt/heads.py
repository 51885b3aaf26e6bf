"""The end of a network: from whatever it gives to one probability for each label."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mask_detector_ros.errors import ModelError

_SUM_TOLERANCE = 0.01


def to_probabilities(values: NDArray[Any], logits: bool) -> NDArray[np.float32]:
    """What `append_head` computes, for the original network.

    Args:
        values: (N, K), or (N, 1) of a network with one output for two labels.
        logits: `values` have no softmax or sigmoid yet.

    Returns:
        (N, K) or (N, 2) float32. One output p becomes 1 - p and p.
    """
    values = np.asarray(values, np.float64)
    if logits and values.shape[1] == 1:
        values = 1 / (1 + np.exp(-values))
    elif logits:
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        values = powers / powers.sum(axis=1, keepdims=True)
    if values.shape[1] == 1:
        values = np.hstack([1 - values, values])
    return values.astype(np.float32)


def append_head(model: onnx.ModelProto, columns: int, logits: bool) -> None:
    """Make the output `probabilities`, float32 (batch, K), in place.

    Args:
        model: with one output, (N, columns).
        columns: how many values the network gives for a crop.
        logits: as of `to_probabilities`.
    """
    graph = model.graph
    last = graph.output[0].name
    if last == "probabilities":
        last = _rename_output(graph, last)
    if logits:
        last = _add(graph, "Sigmoid" if columns == 1 else "Softmax", [last], "head_activation")
    if columns == 1:
        graph.initializer.append(helper.make_tensor("head_one", TensorProto.FLOAT, [1], [1.0]))
        other = _add(graph, "Sub", ["head_one", last], "head_complement")
        last = _add(graph, "Concat", [other, last], "head_both", axis=1)
    _add(graph, "Identity", [last], "probabilities")
    shape: list[str | int | None] = ["batch", max(columns, 2)]
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape)
    del graph.output[:]
    graph.output.append(output)


def require_probabilities(values: NDArray[np.float32], name: str) -> None:
    """Raise where (N, K) values cannot be probabilities.

    Raises:
        ModelError: says what they look like instead.
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
            " probability for each label, so train it with a softmax"
        )


def _rename_output(graph: Any, old: str) -> str:
    new = "network_output"
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
    return new


def _add(graph: Any, operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
    graph.node.append(helper.make_node(operation, inputs, [output], output, **attributes))
    return output
