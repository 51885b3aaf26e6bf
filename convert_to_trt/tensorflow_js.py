# SPDX-License-Identifier: Apache-2.0
"""Read TensorFlow.js models: `model.json`, with the weights in shards beside it.

Source of the format: the manifest of tfjs-converter, https://www.tensorflow.org/js/guide/save_load,
and its quantisation, tfjs-core/src/io/io_utils.ts.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from numpy.typing import NDArray

from convert_to_trt.keras_files import KerasFile
from convert_to_trt.model_files import read_json
from mask_detector_ros.errors import ModelError

_FUSED = {
    "_FusedConv2D": "Conv2D",
    "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
    "_FusedMatMul": "MatMul",
}
"""Operations that TensorFlow.js's converter fuses with a bias and an activation, unfused."""

_DAMAGED = (
    *(json_format.ParseError, AttributeError, IndexError, KeyError, OverflowError, TypeError),
    *(UnicodeDecodeError, ValueError),
)
"""Exceptions of reading a damaged `model.json`."""

_FUSED_ATTRIBUTES = ("fused_ops", "num_args", "num_host_args", "epsilon", "leakyrelu_alpha")


def read_layers_model(path: Path) -> KerasFile:
    """Read the architecture of a TensorFlow.js layers model, in the form of Keras 2.

    Raises:
        ModelError: it is not a layers model.
    """
    topology = read_json(path).get("modelTopology")
    if isinstance(topology, dict):
        # The converter writes what Keras stores; the browser writes only the architecture.
        config = topology.get("model_config", topology)
        if isinstance(config, dict) and "class_name" in config:
            return KerasFile({**config, "keras_version": "2.0", "backend": "tensorflow"}, 2)
    raise ModelError(
        f"{path} is not a TensorFlow.js layers model; convert the .h5 or SavedModel it was made "
        "from"
    )


def read_graph_model(path: Path) -> Any:
    """Read a TensorFlow.js graph model as a frozen graph (GraphDef).

    Raises:
        ModelError: it is damaged, or a shard is missing.
    """
    topology = read_json(path).get("modelTopology")
    weights = _read_weights(path)
    try:
        graph = json_format.ParseDict(topology, tf.compat.v1.GraphDef(), ignore_unknown_fields=True)
        for node in graph.node:
            if node.op == "Const" and node.name in weights:
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))
                node.attr["dtype"].type = node.attr["value"].tensor.dtype
        for node in [node for node in graph.node if node.op in _FUSED]:
            _unfuse(graph, node)
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    return graph


def _unfuse(graph: Any, node: Any) -> None:
    """Replace a fused operation by itself, a bias and an activation, in place.

    Raises:
        ModelError: it is fused with something else.
    """
    steps = [step.decode() for step in node.attr["fused_ops"].list.s]
    name, extra = node.name, list(node.input[2:])
    node.op = _FUSED[node.op]
    for attribute in _FUSED_ATTRIBUTES:
        node.attr.pop(attribute, None)
    del node.input[2:]
    for number, step in enumerate(steps):
        node.name = f"{name}/fused_{number}"
        last = graph.node.add(op=step, name=name)
        last.input.append(node.name)
        last.attr["T"].type = tf.float32.as_datatype_enum
        if step == "BiasAdd":
            last.input.append(extra.pop(0))
        elif step not in ("Relu", "Relu6", "Elu", "Sigmoid", "Tanh"):
            raise ModelError(
                f"the operation {name} is fused with {step}; convert the SavedModel that the"
                " TensorFlow.js model was made from"
            )
        node = last


def assign_weights(model: Any, path: Path) -> None:
    """Assign the weights in a TensorFlow.js model's shards to a Keras model, by name.

    Raises:
        ModelError: a shard or a weight is missing, or does not fit.
    """
    weights = _read_weights(path)
    values = []
    for variable in model.weights:
        name = str(getattr(variable, "path", variable.name)).removesuffix(":0")
        found = weights.get(name)
        if found is None or tuple(found.shape) != tuple(variable.shape):
            got = "nothing" if found is None else str(found.shape)
            raise ModelError(
                f"{path} lacks the weight {name} of shape {tuple(variable.shape)}, got {got};"
                " get the file and its shards again"
            )
        values.append(found)
    model.set_weights(values)


def _read_weights(path: Path) -> dict[str, NDArray[Any]]:
    weights = {}
    manifest = read_json(path).get("weightsManifest", [])
    if not isinstance(manifest, list):
        raise _damaged(path, TypeError("weightsManifest is no list"))
    for group in manifest:
        try:
            shards = [path.parent / Path(name).name for name in group["paths"]]
            content = b"".join(shard.read_bytes() for shard in shards)
        except (OSError, KeyError, TypeError) as error:
            raise ModelError(
                f"{path} needs its weights beside it ({error}); copy all .bin files there"
            ) from error
        start = 0
        try:
            for entry in group["weights"]:
                array, start = _read_array(path, entry, content, start)
                weights[entry["name"]] = array
        except _DAMAGED as error:
            raise _damaged(path, error) from error
    return weights


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ModelError(f"{path} is damaged ({reason}); get the file again")


def _read_array(
    path: Path, entry: dict[str, Any], content: bytes, start: int
) -> tuple[NDArray[Any], int]:
    quantised = entry.get("quantization", {})
    kind = np.dtype(quantised.get("dtype", entry["dtype"])).newbyteorder("<")
    shape = tuple(int(side) for side in entry["shape"])
    end = start + int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if end > len(content):
        raise ModelError(f"{path} has shards that are too short; get the .bin files again")
    values = np.frombuffer(content[start:end], kind).reshape(shape)
    if "scale" in quantised:
        values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
        values = np.rint(values) if entry["dtype"] == "int32" else values
    return values.astype(entry["dtype"]), end
