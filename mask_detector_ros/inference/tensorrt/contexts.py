# SPDX-License-Identifier: Apache-2.0
"""Address an engine's tensors by name or by binding index."""

from __future__ import annotations

from typing import Any

import numpy as np

from mask_detector_ros.inference.base import TensorInfo

Tensors = tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]
"""An engine's inputs and outputs."""


def named_tensors(engine: Any, input_mode: Any) -> Tensors:
    """Tensors of an engine in TensorRT 8.5 or newer.

    Args:
        engine: the engine.
        input_mode: the value of `get_tensor_mode` for an input.
    """
    found: Tensors = ((), ())
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        dtype, shape = engine.get_tensor_dtype(name), engine.get_tensor_shape(name)
        found = _append(found, name, dtype, shape, engine.get_tensor_mode(name) == input_mode)
    return found


def indexed_tensors(engine: Any) -> Tensors:
    """Tensors of an engine in TensorRT 8.0 to 8.4."""
    found: Tensors = ((), ())
    for index in range(engine.num_bindings):
        name, dtype = engine.get_binding_name(index), engine.get_binding_dtype(index)
        shape, is_input = engine.get_binding_shape(index), engine.binding_is_input(index)
        found = _append(found, name, dtype, shape, is_input)
    return found


def _append(found: Tensors, name: str, dtype: Any, shape: Any, is_input: bool) -> Tensors:
    inputs, outputs = found
    info = TensorInfo(name, _numpy_dtype(dtype), tuple(shape))
    return ((*inputs, info), outputs) if is_input else (inputs, (*outputs, info))


def _numpy_dtype(kind: Any) -> np.dtype[Any]:
    """Like `trt.nptype`, which in 8.5 fails with NumPy 1.24 and newer."""
    names = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32"}
    names |= {"BOOL": "bool", "UINT8": "uint8", "INT64": "int64"}
    return np.dtype(names.get(kind.name, "object"))


class NamedContext:
    """An execution context that addresses tensors by name: TensorRT 8.5 or newer."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Set the shape of an input; False if the engine does not accept it."""
        return bool(self._context.set_input_shape(name, shape))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; the input shapes must be set."""
        return tuple(self._context.get_tensor_shape(name))

    def set_address(self, name: str, address: int) -> bool:
        """Set a tensor's GPU address; False if the engine does not accept it."""
        return bool(self._context.set_tensor_address(name, address))

    def execute(self, stream: int) -> bool:
        """Enqueue a run in a stream; False on failure."""
        return bool(self._context.execute_async_v3(stream))

    def can_capture(self, stream: int) -> bool:
        """Whether a run can be recorded as a CUDA graph; RTX may still be compiling kernels."""
        if hasattr(self._context, "is_stream_capturable"):
            return bool(self._context.is_stream_capturable(stream))
        return True


class IndexedContext:
    """An execution context that addresses tensors by binding index: TensorRT 8.0 to 8.4."""

    def __init__(self, context: Any, engine: Any) -> None:
        self._context = context
        names = map(engine.get_binding_name, range(engine.num_bindings))
        self._index = {name: index for index, name in enumerate(names)}
        self._addresses = [0] * engine.num_bindings

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """As `NamedContext.set_input_shape`."""
        return bool(self._context.set_binding_shape(self._index[name], shape))

    def shape(self, name: str) -> tuple[int, ...]:
        """As `NamedContext.shape`."""
        return tuple(self._context.get_binding_shape(self._index[name]))

    def set_address(self, name: str, address: int) -> bool:
        """As `NamedContext.set_address`."""
        self._addresses[self._index[name]] = address
        return True

    def execute(self, stream: int) -> bool:
        """As `NamedContext.execute`."""
        return bool(self._context.execute_async_v2(self._addresses, stream))

    def can_capture(self, stream: int) -> bool:
        """As `NamedContext.can_capture`."""
        return True
