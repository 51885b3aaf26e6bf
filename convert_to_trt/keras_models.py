# SPDX-License-Identifier: Apache-2.0
"""Load Keras models (HDF5, archives, JSON with weights, TensorFlow.js) as graphs to convert."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow as tf

from convert_to_trt import keras_files
from convert_to_trt.keras1 import translate_keras1
from convert_to_trt.keras_code_check import reject_keras_code
from convert_to_trt.model_bundles import ModelBundle
from convert_to_trt.model_files import HDF5, KERAS_JSON, TFJS
from convert_to_trt.tensorflow_js import assign_weights, read_layers_model
from convert_to_trt.tensorflow_models import (
    LOAD_ERRORS,
    Original,
    choose_index,
    freeze,
    require_one_input,
    unloadable,
    unrunnable,
)


def load_keras(
    bundle: ModelBundle, trust: bool, size: int | None, output: str | None = None
) -> Original:
    """Load a Keras model to convert, whichever file format it has.

    Args:
        bundle: the model and, for one in JSON, its weights.
        trust: load it even if it carries code.
        size: height and width of the input, if the model leaves them open.
        output: name of the output, if the model has several.

    Raises:
        ModelError: it carries code, or cannot be loaded.
    """
    path = bundle.path
    description = _describe(bundle)
    if not trust:
        reject_keras_code(description.config, str(path))
    library = _keras_library(description.major)
    framework = f"Keras {description.major}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = _load(bundle, description, library, trust, Path(folder))
        inputs, outputs = model.inputs or [], model.outputs or []
        names = [tensor.name for tensor in inputs], list(getattr(model, "output_names", []))
    except LOAD_ERRORS as error:
        raise unloadable(path, framework, error) from error
    require_one_input(path, names[0] or ["none"] * len(inputs))
    shapes = [list(tensor.shape) for tensor in outputs]
    index = choose_index(path, names[1] or ["none"] * len(outputs), shapes, output)
    shape = [None, *(side or size for side in inputs[0].shape[1:3]), *inputs[0].shape[3:]]
    specification = tf.TensorSpec(shape, tf.as_dtype(inputs[0].dtype))

    def call(batch: Any) -> Any:
        result = model(batch, training=False)
        if isinstance(result, dict):
            return result[names[1][index]]
        return result[index] if isinstance(result, (list, tuple)) else result

    try:
        concrete = tf.function(call).get_concrete_function(specification)
    except LOAD_ERRORS as error:
        raise unrunnable(path, error) from error
    version = f"{framework} ({library.__name__} {library.__version__})"
    if bundle.kind == TFJS:
        version = f"TensorFlow.js, in {version}"
    return freeze(path, concrete, version, call)


def _describe(bundle: ModelBundle) -> keras_files.KerasFile:
    if bundle.kind == HDF5:
        return keras_files.read_keras_hdf5(bundle.path)
    if bundle.kind == KERAS_JSON:
        return keras_files.read_keras_json(bundle.path)
    if bundle.kind == TFJS:
        return read_layers_model(bundle.path)
    return keras_files.read_keras_archive(bundle.path)


def _load(
    bundle: ModelBundle, description: keras_files.KerasFile, library: Any, trust: bool, folder: Path
) -> Any:
    # MobileNet of Keras 2.1 uses an activation that is not registered.
    known = {"relu6": tf.nn.relu6}
    if trust:
        # What Lambda layers call: they keep their code, but not what their program imported.
        known |= {"tf": tf, "np": np, "keras": library, "K": library.backend}
    if bundle.kind in (KERAS_JSON, TFJS):
        model = library.models.model_from_json(json.dumps(description.config), known)
        if bundle.weights is None:
            assign_weights(model, bundle.path)
        else:
            named = folder / _weights_name(bundle.weights)
            named.symlink_to(bundle.weights.resolve())
            model.load_weights(named)
        return model
    # Keras identifies a file by its suffix.
    named = folder / ("model.h5" if bundle.kind == HDF5 else "model.keras")
    if description.major == 1:
        _write_as_keras2(bundle.path, description, named)
    else:
        named.symlink_to(bundle.path.resolve())
    return library.models.load_model(
        named, custom_objects=known, compile=False, safe_mode=not trust
    )


def _weights_name(weights: Path) -> str:
    """The file name by which Keras 3 recognises the format of weights."""
    with h5py.File(weights) as file:
        is_old = "layer_names" in file.attrs or "model_weights" in file
    return "weights.h5" if is_old else "model.weights.h5"


def _keras_library(major: int) -> Any:
    if major >= 3:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras

        return keras
    import tf_keras

    return tf_keras


def _write_as_keras2(path: Path, description: keras_files.KerasFile, target: Path) -> None:
    shutil.copyfile(path, target)
    with h5py.File(target, "r+") as file:
        file.attrs["model_config"] = json.dumps(translate_keras1(description.config, str(path)))
        # Keras 2 flips kernels where needed only if this attribute is present.
        for owner in (file, file["model_weights"]):
            owner.attrs.setdefault("keras_version", "1")
            owner.attrs.setdefault("backend", "tensorflow")
