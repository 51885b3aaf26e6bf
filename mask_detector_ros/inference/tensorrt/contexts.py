"""How the tensors of an engine are addressed: by name, or by the index of a binding."""

from __future__ import annotations

from typing import Any

import numpy as np

from mask_detector_ros.inference.base import TensorInfo

Tensors = tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]
"""The inputs and the outputs of an engine."""


def named_tensors(engine: Any, input_mode: Any) -> Tensors:
    """Of TensorRT from 8.5 on.

    Args:
        engine: the engine.
        input_mode: what `get_tensor_mode` gives for an input.
    """
    found: Tensors = ((), ())
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        dtype, shape = engine.get_tensor_dtype(name), engine.get_tensor_shape(name)
        found = _append(found, name, dtype, shape, engine.get_tensor_mode(name) == input_mode)
    return found


def indexed_tensors(engine: Any) -> Tensors:
    """Of TensorRT 8.0 to 8.4."""
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
    """`trt.nptype` does the same, but in 8.5 it fails with NumPy from 1.24 on."""
    names = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32"}
    names |= {"BOOL": "bool", "UINT8": "uint8", "INT64": "int64"}
    return np.dtype(names.get(kind.name, "object"))


class NamedContext:
    """An execution context whose tensors go by name: TensorRT from 8.5 on."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Set the shape of an input; False where the engine does not take it."""
        return bool(self._context.set_input_shape(name, shape))

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor, once the inputs have theirs."""
        return tuple(self._context.get_tensor_shape(name))

    def set_address(self, name: str, address: int) -> bool:
        """Say where in GPU memory a tensor is; False where the engine does not take it."""
        return bool(self._context.set_tensor_address(name, address))

    def execute(self, stream: int) -> bool:
        """Put a run into a stream; False where it failed."""
        return bool(self._context.execute_async_v3(stream))

    def can_capture(self, stream: int) -> bool:
        """Whether a run may become a CUDA graph; RTX may still be compiling kernels."""
        if hasattr(self._context, "is_stream_capturable"):
            return bool(self._context.is_stream_capturable(stream))
        return True


class IndexedContext:
    """An execution context whose tensors go by the index of a binding: TensorRT 8.0 to 8.4."""

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
