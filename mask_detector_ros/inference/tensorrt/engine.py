# SPDX-License-Identifier: Apache-2.0
"""A network's TensorRT and CUDA objects on a GPU. Use only in the GPU's thread."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mask_detector_ros.errors import BackendError, ModelError
from mask_detector_ros.inference.session import Array, TensorInfo
from mask_detector_ros.inference.tensorrt.api import TensorRt
from mask_detector_ros.inference.tensorrt.builder import Shapes
from mask_detector_ros.inference.tensorrt.cache import EngineMisfitError
from mask_detector_ros.inference.tensorrt.cuda import Buffer, CudaGraph, CudaThread
from mask_detector_ros.inference.tensorrt.profile import fill_up

GRAPH_LIMIT = 32
"""Maximum number of input shapes per network with a context and a CUDA graph: the levels of a
camera's pyramid, or batch sizes. Another shape replaces the oldest."""

logger = logging.getLogger(__name__)


class Engine:
    """A deserialised engine with its buffers and contexts.

    Raises:
        EngineMisfitError: TensorRT rejects the plan.
    """

    def __init__(self, api: TensorRt, thread: CudaThread, plan: bytes, name: str) -> None:
        self._api, self._thread, self._name = api, thread, name
        errors: list[str] = []
        self._logger = api.logger(
            lambda kind, text: errors.append(str(text)) if kind == "error" else None
        )
        self._runtime = api.trt.Runtime(self._logger)
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            reason = "; ".join(errors[-2:]) or "no reason given"
            raise EngineMisfitError(f"{api} rejects the engine of {name} ({reason})")
        self._engine: Any = engine
        self.inputs, self.outputs = api.tensors(engine)
        self._buffers = {t.name: Buffer(thread.driver) for t in (*self.inputs, *self.outputs)}
        self._scratch_size = max(api.scratch_size(engine), 1)
        self._scratch = thread.driver.mem_alloc(self._scratch_size)
        self._contexts: dict[tuple[Any, ...], _Shaped] = {}
        self._has_graphs = True

    def run(self, arrays: Mapping[str, Array], profile: Mapping[str, Shapes]) -> dict[str, Array]:
        """Run the deserialised engine once; return copies of the results."""
        shapes = {t.name: fill_up(arrays[t.name].shape, profile.get(t.name)) for t in self.inputs}
        shaped = self._shaped(shapes)
        used = {name: array.shape[0] for name, array in arrays.items() if name in profile}
        batch = max(used.values(), default=-1)
        stream = self._thread.stream
        if batch != 0:
            for tensor in self.inputs:
                array = arrays[tensor.name]
                # Padding rows keep old values; their results are not read.
                self._buffers[tensor.name].view(array.shape, tensor.dtype)[...] = array
            self._execute(shaped, stream)
            stream.synchronize()
        results = {}
        for tensor in self.outputs:
            values = self._buffers[tensor.name].view(shaped.outputs[tensor.name], tensor.dtype)
            rows = batch if batch >= 0 and tensor.shape[0] == -1 else len(values)
            results[tensor.name] = values[:rows].copy()
        return results

    def _shaped(self, shapes: dict[str, tuple[int, ...]]) -> _Shaped:
        key = tuple(shapes.values())
        shaped = self._contexts.get(key)
        if shaped is None:
            if len(self._contexts) >= GRAPH_LIMIT:
                self._contexts.pop(next(iter(self._contexts))).free()
            context = self._api.create_context(self._engine, int(self._scratch), self._scratch_size)
            shaped = self._contexts[key] = _Shaped(context, shapes, self.outputs, self._name)
        self._reserve(shaped)
        return shaped

    def _reserve(self, shaped: _Shaped) -> None:
        """Allocate memory for the tensors; if it moved, set the new addresses in every context."""
        moved = False
        for tensor in (*self.inputs, *self.outputs):
            moved |= self._buffers[tensor.name].reserve(shaped.size(tensor))
        for other in self._contexts.values() if moved else (shaped,):
            other.place(self._buffers, self._name, moved=moved)

    def _execute(self, shaped: _Shaped, stream: Any) -> None:
        if shaped.graph is not None:
            shaped.graph.launch()
            return
        self._enqueue(shaped, stream)
        shaped.runs += 1
        # The first run of a shape does lazy initialisation that must not be recorded.
        if shaped.runs < 2 or not self._has_graphs:
            return
        # TensorRT-RTX may still be compiling kernels.
        can_capture = getattr(shaped.context, "is_stream_capturable", None)
        if can_capture is not None and not can_capture(stream.handle):
            return
        stream.synchronize()
        try:
            shaped.graph = CudaGraph(stream.handle, lambda: self._enqueue(shaped, stream))
        except BackendError as error:
            self._has_graphs = False
            logger.info("%s runs without CUDA graphs: %s", self._name, error)

    def _enqueue(self, shaped: _Shaped, stream: Any) -> None:
        for tensor in self.inputs:
            self._buffers[tensor.name].upload(shaped.size(tensor), stream)
        if not shaped.context.execute_async_v3(stream.handle):
            raise BackendError(f"TensorRT could not run {self._name}: out of GPU memory?")
        for tensor in self.outputs:
            self._buffers[tensor.name].download(shaped.size(tensor), stream)

    def free(self) -> None:
        """Free everything of the engine, dependents first."""
        for shaped in self._contexts.values():
            shaped.free()
        self._contexts.clear()
        self._buffers.clear()
        self._engine = self._runtime = self._scratch = None


class _Shaped:
    """An execution context for one set of input shapes, and the CUDA graph recorded from it.

    A graph becomes invalid when its context changes, so each set of shapes has a context.
    """

    def __init__(
        self,
        context: Any,
        shapes: dict[str, tuple[int, ...]],
        outputs: Iterable[TensorInfo],
        name: str,
    ) -> None:
        self.context = context
        self.graph: CudaGraph | None = None
        self.runs = 0
        for tensor, shape in shapes.items():
            if not context.set_input_shape(tensor, shape):
                raise ModelError(f"the engine of {name} does not accept {tensor} of shape {shape}")
        self.outputs = {t.name: tuple(context.get_tensor_shape(t.name)) for t in outputs}
        self.shapes = {**shapes, **self.outputs}
        self._is_placed = False

    def size(self, tensor: TensorInfo) -> int:
        """Bytes of a tensor of the engine at these input shapes."""
        return tensor.dtype.itemsize * int(np.prod(self.shapes[tensor.name]))

    def place(self, buffers: Mapping[str, Buffer], name: str, moved: bool) -> None:
        """Set the tensor addresses in the engine's execution context."""
        if self._is_placed and not moved:
            return
        self.free()
        self.runs = 0
        for tensor, buffer in buffers.items():
            if not self.context.set_tensor_address(tensor, buffer.address):
                raise BackendError(f"the engine of {name} does not accept the address of {tensor}")
        self._is_placed = True

    def free(self) -> None:
        """Drop the CUDA graph of the engine at these input shapes."""
        if self.graph is not None:
            self.graph.free()
        self.graph = None
