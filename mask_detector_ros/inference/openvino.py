# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the CPU."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.openvino_graph import (
    drop_conversion,
    is_image,
    restore_prelu,
    split_flat_maps,
    with_channels_last,
)
from mask_detector_ros.inference.openvino_import import ov
from mask_detector_ros.inference.options import EngineOptions
from mask_detector_ros.inference.session import Array, Session, TensorInfo

_Shapes = tuple[tuple[int, ...], ...]

FIXED_AFTER = 4
"""Runs of one shape after which the network is compiled for it. That takes 60 to 100 ms, and saves
0.3 to 7 ms a run."""

VALUES_KEPT, UNUSED_AFTER = 12_000_000, 256
"""Maximum number of input values of all compiled shapes of a network, and the number of runs
without a shape after which another one may replace it. The proposal network takes 27 bytes for each
value, so 20 frames of 512x384 take 320 MB."""

BATCH = 8
"""Number of crops per call; the rest go one by one. Each size has its own weights and machine code,
which other work displaces from the core's cache: with the sizes 1, 2, 4, 8, 12 and 16 the decision
network took up to a third longer when the number of crops changed."""

RUNTIME_CACHE = 32
"""Maximum number of primitives that a dynamic network keeps for earlier shapes. The proposal
network has some 60, so each change of shape takes it 7 ms. With 512, images of 96 sizes make it
grow by 85 MB, with OpenVINO's default of 5000 by 180; sizes that recur are compiled instead."""


def create(
    model: bytes, name: str, threads: int, options: EngineOptions, concurrent: bool
) -> OpenVinoSession:
    """Load a serialised ONNX model in OpenVINO; see `inference.create_session`.

    Its concurrency is 1: a network per thread and shape would take much memory, and OpenVINO's
    internal threads are as fast.
    """
    return OpenVinoSession(model, name, threads)


class OpenVinoSession(Session):
    """A network compiled for dynamic shapes, and again for each recurring shape.

    A dynamic network re-initialises whenever the shape changes, which costs 0.3 to 1 ms, as much as
    several crops. P-Net is a seventh slower even with a constant shape. Batches have one of two
    sizes.
    """

    backend = "openvino"

    def __init__(self, model: bytes, name: str, threads: int) -> None:
        self._core = ov.Core()
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # With bfloat16 or float16, scores would differ between machines.
            "INFERENCE_PRECISION_HINT": "f32",
            # Pinning binds thread k of every process to core k: two single-threaded
            # detectors would share the first core.
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": RUNTIME_CACHE,
        }
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        if threads == 1:
            # Without streams, the caller's thread does all the work. Otherwise each compiled
            # network starts two threads, and a frame's networks of all shapes up to 136.
            self._settings["NUM_STREAMS"] = 0
        try:
            self._network = self._core.read_model(model, b"")
            self.inputs = tuple(_tensor_info(port) for port in self._network.inputs)
            restore_prelu(self._network)
            split_flat_maps(self._network)
            self._takes_bytes = [drop_conversion(self._network, i.name) for i in self.inputs]
            self._takes_pixels = [is_image(tensor) for tensor in self.inputs]
            are_images = map(any, zip(self._takes_bytes, self._takes_pixels, strict=True))
            self._network = with_channels_last(self._network, list(are_images))
            compiled = self._compile(self._network)
            # A compiled network may merge tensors, which then have several names.
            self.outputs = tuple(_tensor_info(port) for port in self._network.outputs)
            self.metadata = _read_metadata(self._network)
        except (RuntimeError, UnicodeDecodeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ModelError(
                f"{name} is not a model that OpenVINO {ov.get_version()} can load ({reason}); the "
                "file is damaged or not an ONNX model: get it again"
            ) from error
        self._of_any_shape = compiled.create_infer_request()
        self._of_shape: OrderedDict[_Shapes, _Fixed] = OrderedDict()
        self._came: Counter[_Shapes] = Counter()
        self._runs = 0
        self.name = name
        self.device = "CPU"
        self._has_free_shape = any(-1 in tensor.shape for tensor in self.inputs)
        self._takes_batches = all(
            tensor.shape[:1] == (-1,) and tensor.shape.count(-1) == 1
            for tensor in (*self.inputs, *self.outputs)
        )

    def _compile(self, network: Any) -> Any:
        return self._core.compile_model(network, "CPU", self._settings)

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if not all(array.size for array in arrays.values()):
            # For an empty batch OpenVINO returns its previous result.
            return {t.name: np.empty((0, *t.shape[1:]), t.dtype) for t in self.outputs}
        values = [
            np.moveaxis(arrays[tensor.name], 1, -1) if takes_pixels else arrays[tensor.name]
            for tensor, takes_pixels in zip(self.inputs, self._takes_pixels, strict=True)
        ]
        names = [tensor.name for tensor in self.outputs]
        if not self._takes_batches:
            copies = (output.copy() for output in self._run_shape(values))
            return dict(zip(names, copies, strict=True))
        count = len(values[0])
        singles = range(count - count % BATCH, count)
        starts = [*range(0, singles.start, BATCH), *singles, count]
        found = [np.empty((count, *tensor.shape[1:]), tensor.dtype) for tensor in self.outputs]
        for start, end in pairwise(starts):
            parts = self._run_shape([value[start:end] for value in values])
            for whole, part in zip(found, parts, strict=True):
                whole[start:end] = part
        return dict(zip(names, found, strict=True))

    def _run_shape(self, values: list[Array]) -> list[Array]:
        """Run on inputs in OpenVINO's memory layout, compiled for their shapes if they recur. The
        outputs are valid until the next run."""
        fixed = self._fixed_for(tuple(value.shape for value in values))
        # Runs in this thread, whose core has the images in cache; `start_async` does not.
        if fixed is None:
            request = self._of_any_shape
            for index, (value, tensor) in enumerate(zip(values, self.inputs, strict=True)):
                dtype = np.float32 if self._takes_bytes[index] else tensor.dtype
                whole = np.ascontiguousarray(value, dtype)
                request.set_input_tensor(index, ov.Tensor(whole, shared_memory=True))
            request.infer(share_outputs=True)
            return [request.get_output_tensor(index).data for index in range(len(self.outputs))]
        # Copy into OpenVINO's memory: NumPy's is not aligned for it.
        for memory, value in zip(fixed.inputs, values, strict=True):
            memory[:] = value
        fixed.request.infer(share_outputs=True)
        return fixed.outputs

    def _fixed_for(self, shapes: _Shapes) -> _Fixed | None:
        """The network compiled for inputs of these shapes; None until they recur often."""
        if not self._has_free_shape:
            return None
        self._runs += 1
        if shapes in self._of_shape:
            fixed = self._of_shape.pop(shapes)
        else:
            if len(self._came) > 10 * UNUSED_AFTER:
                self._came.clear()
            self._came[shapes] += 1
            if self._came[shapes] < FIXED_AFTER or not self._make_room(shapes):
                return None
            network = self._network.clone()
            network.reshape(dict(zip((t.name for t in self.inputs), shapes, strict=True)))
            fixed = _Fixed(self._compile(network).create_infer_request())
            del self._came[shapes]
        fixed.last_run = self._runs
        # Move it to the end, so that the least recently used one comes first.
        self._of_shape[shapes] = fixed
        return fixed

    def _make_room(self, shapes: _Shapes) -> bool:
        """Whether another shape can be kept, possibly replacing some that no longer occur."""
        while self._of_shape and sum(map(_values, (shapes, *self._of_shape))) > VALUES_KEPT:
            oldest, fixed = next(iter(self._of_shape.items()))
            if self._runs - fixed.last_run < UNUSED_AFTER:
                return False
            del self._of_shape[oldest]
        return True


class _Fixed:
    """A network compiled for one shape of each input.

    Attributes:
        inputs, outputs: its memory, which stays where it is.
        last_run: number of the session's run that used it last.
    """

    def __init__(self, request: Any) -> None:
        network = request.get_compiled_model()
        self.request = request
        self.inputs = [request.get_input_tensor(i).data for i in range(len(network.inputs))]
        self.outputs = [request.get_output_tensor(i).data for i in range(len(network.outputs))]
        self.last_run = 0


def _values(shapes: _Shapes) -> int:
    return sum(map(math.prod, shapes))


def _tensor_info(port: Any) -> TensorInfo:
    shape = tuple(d.get_length() if d.is_static else -1 for d in port.get_partial_shape())
    return TensorInfo(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()), shape)


def _read_metadata(network: Any) -> dict[str, str]:
    """The ONNX metadata, which OpenVINO keeps under `framework` in the runtime info."""
    if not network.has_rt_info("framework"):
        return {}
    return {str(key): str(value) for key, value in network.get_rt_info("framework").value.items()}
