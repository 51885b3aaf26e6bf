# SPDX-License-Identifier: Apache-2.0
"""TensorRT execution contexts that address an engine's tensors by name or by binding index."""

from typing import Any

import numpy as np

from mask_detector_ros.inference.session import TensorInfo


def engine_tensors(
    engine: Any, input_mode: Any
) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """The inputs and outputs of a TensorRT engine, with old and new execution contexts.

    Args:
        input_mode: the value of `get_tensor_mode` for an input; None for bindings.
    """
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    for index in range(engine.num_bindings if input_mode is None else engine.num_io_tensors):
        if input_mode is None:
            name, is_input = engine.get_binding_name(index), engine.binding_is_input(index)
            dtype, shape = engine.get_binding_dtype(index), engine.get_binding_shape(index)
        else:
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == input_mode
            dtype, shape = engine.get_tensor_dtype(name), engine.get_tensor_shape(name)
        found = TensorInfo(name, _numpy_dtype(dtype), tuple(shape))
        (inputs if is_input else outputs).append(found)
    return tuple(inputs), tuple(outputs)


def _numpy_dtype(kind: Any) -> np.dtype[Any]:
    """Like `trt.nptype`, which in 8.5 fails with NumPy 1.24 and newer."""
    names = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32"}
    names |= {"BOOL": "bool", "UINT8": "uint8", "INT64": "int64"}
    return np.dtype(names.get(kind.name, "object"))


class IndexedContext:
    """An execution context of TensorRT 8.0 to 8.4 with the methods that it has since 8.5."""

    def __init__(self, context: Any, engine: Any) -> None:
        self._context = context
        names = map(engine.get_binding_name, range(engine.num_bindings))
        self._index = {name: index for index, name in enumerate(names)}
        self._addresses = [0] * engine.num_bindings

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        return bool(self._context.set_binding_shape(self._index[name], shape))

    def get_tensor_shape(self, name: str) -> Any:
        return self._context.get_binding_shape(self._index[name])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[self._index[name]] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        return bool(self._context.execute_async_v2(self._addresses, stream))
