# SPDX-License-Identifier: Apache-2.0
"""Load TensorFlow's own formats as graphs, without Keras: SavedModel folders and frozen graphs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from convert_to_trt.frozen_graph_ends import find_ends, free_batch, settle_phase
from convert_to_trt.model_files import FROZEN_GRAPH, SAVED_MODEL
from convert_to_trt.tensorflow_code_check import graph_operations, reject_graph, saved_operations
from convert_to_trt.tensorflow_models import (
    LOAD_ERRORS,
    Original,
    choose_index,
    freeze,
    require_one_input,
    runner,
    unloadable,
)
from mask_detector_ros.errors import ModelError


def load_saved_model(path: Path, trust: bool, output: str | None = None) -> Original:
    """Load the serving signature of a SavedModel folder, as a graph, without Keras.

    Args:
        path: the folder.
        trust: load it even if its operations do more than compute.
        output: name of the output, if the signature has several.

    Raises:
        ModelError: it carries code, has several inputs or outputs, or cannot be loaded.
    """
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise unloadable(path, SAVED_MODEL, error) from error
    _reject_texts(path, saved)
    if not trust:
        reject_graph(saved_operations(saved), str(path))
    try:
        loaded = tf.saved_model.load(str(path))
        signatures = dict(loaded.signatures)
    except LOAD_ERRORS as error:
        if not list((path / "variables").glob("variables.*")):
            raise ModelError(
                f"{path} lacks its weights; copy the folder variables/ beside saved_model.pb"
            ) from error
        raise unloadable(path, SAVED_MODEL, error) from error
    signature = signatures.get("serving_default") or next(iter(signatures.values()), None)
    if signature is None:
        raise ModelError(f"{path} has no serving signature; export it with model.export(...)")
    inputs = list(signature.structured_input_signature[1])
    results = signature.structured_outputs
    outputs = list(results)
    require_one_input(path, inputs)
    shapes = [tensor.shape.as_list() if tensor.shape.rank else [] for tensor in results.values()]
    chosen = outputs[choose_index(path, outputs, shapes, output)]

    def run(batch: Any) -> Any:
        # `loaded` owns the variables that the signature only references.
        assert loaded is not None
        return signature(**{inputs[0]: batch})[chosen]

    name = f"TensorFlow {tf.__version__} SavedModel"
    if len(outputs) == 1:
        return freeze(path, signature, name, run)
    specification = signature.structured_input_signature[1][inputs[0]]
    return freeze(path, tf.function(run).get_concrete_function(specification), name, run)


def _reject_texts(path: Path, saved: Any) -> None:
    """Raise ModelError where the input of a SavedModel is text, or images as files have them."""
    served = (graph.signature_def["serving_default"] for graph in saved.meta_graphs)
    for name, tensor in (entry for signature in served for entry in signature.inputs.items()):
        if tensor.dtype == tf.string.as_datatype_enum:
            raise ModelError(
                f"{path} takes encoded images or texts (its input {name}); export it with a"
                " signature that takes pixels"
            )


def load_frozen_graph(
    path: Path, trust: bool, inputs: Sequence[str], outputs: Sequence[str]
) -> Original:
    """Load a frozen graph (GraphDef), TensorFlow's format before SavedModel.

    Args:
        path: the `.pb` file.
        trust: load it even if its operations do more than compute.
        inputs, outputs: names of its input and output; empty to find them.

    Raises:
        ModelError: it carries code, its input or output is ambiguous, or it cannot be loaded.
    """
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except (OSError, ValueError, RuntimeError, DecodeError) as error:
        raise unloadable(path, FROZEN_GRAPH, error) from error
    name = f"TensorFlow {tf.__version__} frozen graph"
    return load_graph(graph, path, name, trust, inputs, outputs)


def load_graph(
    graph: Any, path: Path, name: str, trust: bool, inputs: Sequence[str], outputs: Sequence[str]
) -> Original:
    """Load a frozen graph that was read from `path`, of the framework `name`; see
    `load_frozen_graph`."""
    if not trust:
        reject_graph(graph_operations(graph), str(path))
    settle_phase(graph)
    ends = find_ends(graph, inputs, outputs, str(path))
    free_batch(graph, ends[0])
    try:
        whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
        function = whole.prune(*(whole.graph.get_tensor_by_name(name) for name in ends))
    except LOAD_ERRORS as error:
        raise unloadable(path, FROZEN_GRAPH, error) from error
    return Original(name, runner(path, function), graph, [ends[0]], [ends[1]])
