# SPDX-License-Identifier: Apache-2.0
"""Models as tensorflowjs writes them, for `make_models.py`."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from keras1_models import SIDE
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def write_browser_model(folder: Path, model) -> None:
    """Write the network as tensorflowjs does, with weights in two shards, one of them quantised."""
    folder.mkdir()
    entries, content = [], b""
    for variable in model.weights:
        values = variable.numpy()
        name = getattr(variable, "path", variable.name).removesuffix(":0")
        entry = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        if "depthwise" in name:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
            values = values.astype(np.float16)
        entries.append(entry)
        content += values.tobytes()
    (folder / "group1-shard1of2.bin").write_bytes(content[:100])
    (folder / "group1-shard2of2.bin").write_bytes(content[100:])
    paths = ["group1-shard1of2.bin", "group1-shard2of2.bin"]
    topology = {"model_config": json.loads(model.to_json()), "keras_version": "2.15.0"}
    manifest = [{"paths": paths, "weights": entries}]
    whole = {"format": "layers-model", "modelTopology": topology, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(whole))


FUSED = {
    "Conv2D": "_FusedConv2D",
    "DepthwiseConv2dNative": "FusedDepthwiseConv2dNative",
    "MatMul": "_FusedMatMul",
}


def write_browser_graph(folder: Path, model) -> None:
    """Write a network as tensorflowjs writes a graph model: fused, its constants in shards."""
    folder.mkdir()
    specification = tf.TensorSpec([1, SIDE, SIDE, 3], tf.float32, name="image")
    function = tf.function(lambda x: model(x, training=False))
    graph = convert_variables_to_constants_v2(function.get_concrete_function(specification)).graph
    definition = graph.as_graph_def()
    nodes = {node.name: node for node in definition.node}
    for node in [n for n in definition.node if n.op in ("BiasAdd", "Relu", "Relu6")]:
        made = nodes[node.input[0]]
        fused = [*made.attr["fused_ops"].list.s, node.op.encode()]
        if made.op not in (*FUSED, *FUSED.values()):
            continue
        made.op = FUSED.get(made.op, made.op)
        made.input.extend(node.input[1:])
        made.attr["fused_ops"].list.s[:] = fused
        made.attr["num_args"].i = 1
        made.name = node.name
        nodes[node.name] = made
        definition.node.remove(node)
    entries, content = [], b""
    for node in definition.node:
        if node.op == "Const":
            values = tf.make_ndarray(node.attr["value"].tensor)
            entries.append(
                {"name": node.name, "shape": list(values.shape), "dtype": str(values.dtype)}
            )
            content += values.tobytes()
            node.attr["value"].tensor.tensor_content = b""
    (folder / "group1-shard1of2.bin").write_bytes(content[:100])
    (folder / "group1-shard2of2.bin").write_bytes(content[100:])
    paths = ["group1-shard1of2.bin", "group1-shard2of2.bin"]
    manifest = [{"paths": paths, "weights": entries}]
    topology = json_format.MessageToDict(definition)
    whole = {"format": "graph-model", "modelTopology": topology, "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(whole))
