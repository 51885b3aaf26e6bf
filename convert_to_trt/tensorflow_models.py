"""Models of TensorFlow and Keras as one thing: a frozen graph, and the original to compare with."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# TensorFlow reads these when it is imported: no log of its own start, and no GPU.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import h5py
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from convert_to_trt.carried_code import refuse_graph_code, refuse_keras_code
from convert_to_trt.frozen_graphs import find_ends, free_batch
from convert_to_trt.keras1 import translate_keras1
from convert_to_trt.model_files import (
    HDF5,
    SAVED_MODEL,
    KerasFile,
    read_keras_archive,
    read_keras_hdf5,
)
from mask_detector_ros.errors import ModelError

logging.getLogger("tensorflow").setLevel(logging.ERROR)
logging.getLogger("absl").setLevel(logging.ERROR)

_LOAD_ERRORS = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, RuntimeError),
    *(ImportError, tf.errors.OpError),
)


@dataclass(frozen=True)
class Original:
    """A model in the framework that made it.

    Attributes:
        framework: its name and version.
        run: one input batch to the output batch.
        graph: the same as a TensorFlow GraphDef with its weights in it.
        inputs, outputs: tensor names in `graph`.
    """

    framework: str
    run: Callable[[NDArray[Any]], NDArray[Any]]
    graph: Any
    inputs: list[str]
    outputs: list[str]


def load_keras(path: Path, kind: str, trust: bool, size: int | None) -> Original:
    """Load a Keras model from HDF5 or a `.keras` archive.

    Args:
        path: the file.
        kind: `model_files.HDF5` or `model_files.KERAS_ZIP`.
        trust: load it even where it carries code.
        size: height and width of the input, where the model leaves them free.

    Raises:
        ModelError: it carries code, or cannot be loaded.
    """
    description = read_keras_hdf5(path) if kind == HDF5 else read_keras_archive(path)
    if not trust:
        refuse_keras_code(description.config, str(path))
    with tempfile.TemporaryDirectory() as folder:
        # Keras judges a file by its suffix.
        named = Path(folder) / ("model.h5" if kind == HDF5 else "model.keras")
        if description.major == 1:
            _write_as_keras2(path, description, named)
        else:
            named.symlink_to(path.resolve())
        try:
            library = _keras_library(description.major)
            model = library.models.load_model(named, compile=False, safe_mode=not trust)
            inputs, outputs = model.inputs, model.outputs
        except _LOAD_ERRORS as error:
            raise _unloadable(path, f"Keras {description.major}", error) from error
    _require_one(path, inputs or (), outputs or ())
    tensor = inputs[0]
    shape = [None, *(side or size for side in tensor.shape[1:3]), *tensor.shape[3:]]
    specification = tf.TensorSpec(shape, tf.as_dtype(tensor.dtype))
    function = tf.function(lambda x: model(x, training=False))
    try:
        concrete = function.get_concrete_function(specification)
    except _LOAD_ERRORS as error:
        raise _unrunnable(path, error) from error
    version = f"Keras {description.major} ({library.__name__} {library.__version__})"
    return _freeze(path, concrete, version, lambda batch: model(batch, training=False))


def load_saved_model(path: Path, trust: bool) -> Original:
    """Load the serving signature of a SavedModel folder, as a graph, without Keras.

    Raises:
        ModelError: it carries code, has several inputs or outputs, or cannot be loaded.
    """
    if not trust:
        refuse_graph_code(_saved_operations(path), str(path))
    try:
        loaded = tf.saved_model.load(str(path))
        signatures = dict(loaded.signatures)
    except _LOAD_ERRORS as error:
        raise _unloadable(path, SAVED_MODEL, error) from error
    signature = signatures.get("serving_default") or next(iter(signatures.values()), None)
    if signature is None:
        raise ModelError(f"{path} has no serving signature; export it with model.export(...)")
    names = list(signature.structured_input_signature[1])
    _require_one(path, names, list(signature.structured_outputs))

    def run(batch: Any) -> Any:
        # `loaded` owns the variables that the signature only refers to.
        assert loaded is not None
        return next(iter(signature(**{names[0]: batch}).values()))

    return _freeze(path, signature, f"TensorFlow {tf.__version__} SavedModel", run)


def load_frozen_graph(
    path: Path, trust: bool, inputs: Sequence[str], outputs: Sequence[str]
) -> Original:
    """Load a frozen GraphDef.

    Args:
        path: the `.pb` file.
        trust: load it even where its operations reach out of the graph.
        inputs, outputs: names of its ends; empty to find them.

    Raises:
        ModelError: it carries code, its ends are not clear, or it cannot be loaded.
    """
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except (OSError, ValueError, RuntimeError, DecodeError) as error:
        raise _unloadable(path, "frozen graph", error) from error
    if not trust:
        refuse_graph_code(_operations(graph), str(path))
    ends = find_ends(graph, inputs, outputs, str(path))
    free_batch(graph, ends[0])
    try:
        whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
        function = whole.prune(*(whole.graph.get_tensor_by_name(name) for name in ends))
    except _LOAD_ERRORS as error:
        raise _unloadable(path, "frozen graph", error) from error

    name = f"TensorFlow {tf.__version__} frozen graph"
    return Original(name, _runner(path, function), graph, [ends[0]], [ends[1]])


def _keras_library(major: int) -> Any:
    if major >= 3:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras

        return keras
    import tf_keras

    return tf_keras


def _write_as_keras2(path: Path, description: KerasFile, target: Path) -> None:
    shutil.copyfile(path, target)
    with h5py.File(target, "r+") as file:
        file.attrs["model_config"] = json.dumps(translate_keras1(description.config, str(path)))
        # Its presence is what makes Keras 2 turn the kernels round where that is needed.
        for owner in (file, file["model_weights"]):
            owner.attrs.setdefault("keras_version", "1")
            owner.attrs.setdefault("backend", "tensorflow")


def _freeze(path: Path, concrete: Any, framework: str, call: Callable[[Any], Any]) -> Original:
    try:
        frozen = convert_variables_to_constants_v2(concrete)
    except _LOAD_ERRORS as error:
        raise _unloadable(path, framework, error) from error
    # Variables are still listed as inputs, as handles.
    inputs = [tensor.name for tensor in frozen.inputs if tensor.dtype != tf.resource]
    outputs = [tensor.name for tensor in frozen.outputs]
    graph = frozen.graph.as_graph_def()
    return Original(framework, _runner(path, call), graph, inputs, outputs)


def _runner(path: Path, call: Callable[[Any], Any]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def run(batch: NDArray[Any]) -> NDArray[Any]:
        try:
            return np.asarray(call(tf.constant(batch)))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise _unrunnable(path, error) from error

    return run


def _saved_operations(path: Path) -> set[str]:
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise _unloadable(path, SAVED_MODEL, error) from error
    return {name for meta in saved.meta_graphs for name in _operations(meta.graph_def)}


def _operations(graph: Any) -> set[str]:
    functions = (node.op for function in graph.library.function for node in function.node_def)
    return {*(node.op for node in graph.node), *functions}


def _require_one(path: Path, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; a mask classifier"
            " takes one batch of crops and gives one of probabilities"
        )


def _unrunnable(path: Path, error: BaseException) -> ModelError:
    reason = " ".join(str(error).split())[:300]
    return ModelError(
        f"{path} does not run on the CPU with any number of crops ({reason});"
        " export it with a free batch size, for the order height, width, channels"
    )


def _unloadable(path: Path, what: str, error: BaseException) -> ModelError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return ModelError(
        f"{path} cannot be loaded as {what} ({reason});"
        " the file is damaged or uses parts of its own: get it again, or export a SavedModel"
    )
