# SPDX-License-Identifier: Apache-2.0
"""Memory of a network's tensors on an NVIDIA GPU, and the copies to and from it."""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from mask_detector_ros.inference.pinned_memory import pinned_zeros
from mask_detector_ros.inference.session import Array, Session

_ALIGNMENT = 256
"""Bytes; what cudaMalloc guarantees."""


@dataclass(frozen=True)
class _Place:
    """Where an output lies in the block of all outputs: first byte and number of bytes."""

    start: int
    size: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def cut(self, block: Array) -> Array:
        return block[self.start : self.start + self.size].view(self.dtype).reshape(self.shape)


class DeviceBuffers:
    """Device memory of all tensors for one set of input shapes, bound to the network.

    Attributes:
        binding: the IO binding to run with.
        graph: id of the CUDA graph; empty if none is recorded.
        runs: number of runs so far.
    """

    def __init__(
        self,
        network: Session,
        session: Any,
        shapes: dict[str, tuple[int, ...]],
        device: int,
        thread: Executor,
    ) -> None:
        self.graph, self.runs = "", 0
        self._network, self._device = network, device
        self._staging = {
            t.name: pinned_zeros(shapes[t.name], t.dtype, thread) for t in network.inputs
        }
        self._inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(array, "cuda", device)
            for name, array in self._staging.items()
        }
        self._outputs: dict[str, _Place] = {}
        self._block: Any = None
        self.binding = session.io_binding()
        for name, value in self._inputs.items():
            self.binding.bind_ortvalue_input(name, value)
        for tensor in network.outputs:
            self.binding.bind_output(tensor.name, "cuda", device)

    def upload(self, arrays: Mapping[str, Array]) -> None:
        """Copy the inputs to ONNX Runtime's GPU buffers; values after the batch are arbitrary.

        Always copies from the same memory: the driver is slower with new memory.
        """
        for tensor in self._network.inputs:
            array, staging = arrays[tensor.name], self._staging[tensor.name]
            staging[: len(array)] = array
            self._inputs[tensor.name].update_inplace(staging)

    def download(self) -> dict[str, Array]:
        """Copy the outputs from ONNX Runtime's GPU buffers, including the padding rows after the
        batch."""
        if self._block is None:
            values = zip(self._network.outputs, self.binding.get_outputs(), strict=True)
            arrays = {tensor.name: value.numpy() for tensor, value in values}
            self._bind_outputs(arrays)
            return arrays
        # One copy: each costs 0.01 ms, whatever its size.
        block = self._block.numpy()
        return {name: place.cut(block) for name, place in self._outputs.items()}

    def _bind_outputs(self, arrays: Mapping[str, Array]) -> None:
        """From now on put all outputs into one block of GPU memory, where they stay."""
        end = 0
        for name, array in arrays.items():
            self._outputs[name] = _Place(end, array.nbytes, array.dtype, array.shape)
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        block = np.zeros(end, np.uint8)
        self._block = ort.OrtValue.ortvalue_from_numpy(block, "cuda", self._device)
        first = self._block.data_ptr()
        for name, place in self._outputs.items():
            about = (place.dtype, list(place.shape), first + place.start)
            self.binding.bind_output(name, "cuda", self._device, *about)
