# SPDX-License-Identifier: Apache-2.0
"""Common parts of TensorFlow and Keras models: the frozen graph, and the original."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from convert_to_trt.loaded_network import in_steps, reject_detector
from mask_detector_ros.errors import ModelError

logging.getLogger("tensorflow").setLevel(logging.ERROR)
logging.getLogger("absl").setLevel(logging.ERROR)

LOAD_ERRORS = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, RuntimeError),
    *(ImportError, NameError, tf.errors.OpError),
)
"""Exceptions that TensorFlow and Keras raise for a file that they cannot load."""


@dataclass(frozen=True)
class Original:
    """The original TensorFlow or Keras model in the framework that made it.

    Attributes:
        framework: name and version of the framework.
        run: maps an input batch to the output batch.
        graph: the model as a TensorFlow GraphDef that includes its weights.
        inputs, outputs: tensor names in `graph`.
    """

    framework: str
    run: Callable[[NDArray[Any]], NDArray[Any]]
    graph: Any
    inputs: list[str]
    outputs: list[str]


def freeze(path: Path, concrete: Any, framework: str, call: Callable[[Any], Any]) -> Original:
    """Freeze a TensorFlow model's concrete function: turn its variables into constants.

    Args:
        path: path of the model, for errors.
        concrete: the function.
        framework: name and version of the framework.
        call: the original; maps an input batch to the output batch.

    Raises:
        ModelError: it cannot be frozen.
    """
    try:
        frozen = convert_variables_to_constants_v2(concrete)
    except LOAD_ERRORS as error:
        raise unloadable(path, framework, error) from error
    # Variables are still listed as inputs, by their handles.
    inputs = [tensor for tensor in frozen.inputs if tensor.dtype != tf.resource]
    outputs = [tensor.name for tensor in frozen.outputs]
    batch = inputs[0].shape[0] if inputs and inputs[0].shape.rank else None
    graph = frozen.graph.as_graph_def()
    return Original(
        framework, runner(path, call, batch), graph, [tensor.name for tensor in inputs], outputs
    )


def runner(
    path: Path, call: Callable[[Any], Any], batch: int | None = None
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Make a function that runs the original TensorFlow model on arrays, in batches of `batch` if
    its batch size is fixed.

    Raises:
        ModelError: raised on calling it, if the model does not run.
    """

    def run(crops: NDArray[Any]) -> NDArray[Any]:
        try:
            result = call(tf.constant(crops))
            return np.asarray(result[0] if isinstance(result, (list, tuple)) else result)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise unrunnable(path, error) from error

    return in_steps(run, batch) if batch else run


def require_one_input(path: Path, names: Sequence[str]) -> None:
    """Raise ModelError if a TensorFlow or Keras model has not exactly one input.

    Raises:
        ModelError: it has not; the message names them.
    """
    if len(names) != 1:
        raise ModelError(
            f"{path} has {len(names)} inputs ({', '.join(names) or 'none'}); a mask classifier"
            " takes one batch of crops; export a model with that input alone"
        )


def choose_index(
    path: Path, names: Sequence[str], shapes: Sequence[Sequence[int | None]], wanted: str | None
) -> int:
    """The index of a TensorFlow or Keras model's output that holds the probabilities.

    Args:
        path: path of the model, for errors.
        names, shapes: names and shapes of all outputs; None or -1 for a free side.
        wanted: the name that the user gave.

    Raises:
        ModelError: there are several, or none with this name.
    """
    if wanted in names:
        return list(names).index(str(wanted))
    if wanted is None and len(names) == 1:
        return 0
    reject_detector(str(path), names)
    sides = (", ".join(str(s) if s and s > 0 else "?" for s in shape) for shape in shapes)
    shown = "; ".join(f"{name} of ({text})" for name, text in zip(names, sides, strict=True))
    problem = f"{len(names)} outputs" if wanted is None else f"no output {wanted!r}"
    raise ModelError(
        f"{path} has {problem}; a mask classifier gives one batch of probabilities; choose one with"
        f" --outputs: {shown or 'none'}"
    )


def unrunnable(path: Path, error: BaseException) -> ModelError:
    reason = " ".join(str(error).split())[:300]
    return ModelError(
        f"{path} does not run on the CPU with any number of crops ({reason}); export it with a "
        "dynamic batch size and channels last"
    )


def unloadable(path: Path, what: str, error: BaseException) -> ModelError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    # Code of a Lambda layer uses what its program defined; Keras 3 then leaves the model unbuilt.
    if isinstance(error, NameError) or "is not defined" in reason or "no defined inputs" in reason:
        return ModelError(
            f"{path} has a layer that does not run outside the program that saved it ({reason});"
            " load it in that program and export a SavedModel"
        )
    return ModelError(
        f"{path} cannot be loaded as {what} ({reason}); the file is damaged or uses custom parts: "
        "get it again, or export a SavedModel"
    )
