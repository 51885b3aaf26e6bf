# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the CPU."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
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

SHAPES_KEPT, UNUSED_AFTER = 16, 256
"""Maximum number of compiled shapes per network (one of P-Net takes up to 12 MB), and the number of
runs without a shape after which another one may replace it."""

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
    several crops. P-Net is a seventh slower even with a constant shape. Batches are padded, so
    that there are few sizes.
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
        except RuntimeError as error:
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
        # A compiled network may merge tensors, which then have several names.
        self.outputs = tuple(_tensor_info(port) for port in self._network.outputs)
        self.metadata = _read_metadata(self._network)
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
        count = len(values[0])
        size = _fill_up(count) if self._takes_batches else count
        fixed = self._fixed_for(tuple((size, *value.shape[1:]) for value in values))
        # Runs in this thread, whose core has the images in cache; `start_async` does not.
        if fixed is None:
            request = self._of_any_shape
            for index, (value, tensor) in enumerate(zip(values, self.inputs, strict=True)):
                dtype = np.float32 if self._takes_bytes[index] else tensor.dtype
                whole = np.ascontiguousarray(value, dtype)
                request.set_input_tensor(index, ov.Tensor(whole, shared_memory=True))
            request.infer(share_outputs=True)
            outputs = [request.get_output_tensor(index).data for index in range(len(self.outputs))]
        else:
            # Copy into and out of OpenVINO's memory: NumPy's is not aligned for it. Values
            # after the last crop are arbitrary.
            for memory, value in zip(fixed.inputs, values, strict=True):
                memory[:count] = value
            fixed.request.infer(share_outputs=True)
            outputs = fixed.outputs
        if self._takes_batches:
            outputs = [output[:count] for output in outputs]
        names = (tensor.name for tensor in self.outputs)
        return {name: output.copy() for name, output in zip(names, outputs, strict=True)}

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
            if self._came[shapes] < FIXED_AFTER or not self._make_room():
                return None
            network = self._network.clone()
            network.reshape(dict(zip((t.name for t in self.inputs), shapes, strict=True)))
            fixed = _Fixed(self._compile(network).create_infer_request())
            del self._came[shapes]
        fixed.last_run = self._runs
        # Move it to the end, so that the least recently used one comes first.
        self._of_shape[shapes] = fixed
        return fixed

    def _make_room(self) -> bool:
        """Whether another shape can be kept, possibly replacing one that no longer occurs."""
        if len(self._of_shape) < SHAPES_KEPT:
            return True
        shapes, fixed = next(iter(self._of_shape.items()))
        if self._runs - fixed.last_run < UNUSED_AFTER:
            return False
        del self._of_shape[shapes]
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


def _fill_up(count: int) -> int:
    """The next of 1, 2, 4, 8, 12, 16, ... crops: few sizes, since each one has its own copy of the
    weights, which must come into the core's cache."""
    return count if count <= 2 else -(-count // 4) * 4


def _tensor_info(port: Any) -> TensorInfo:
    shape = tuple(d.get_length() if d.is_static else -1 for d in port.get_partial_shape())
    return TensorInfo(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()), shape)


def _read_metadata(network: Any) -> dict[str, str]:
    """The ONNX metadata, which OpenVINO keeps under `framework` in the runtime info."""
    if not network.has_rt_info("framework"):
        return {}
    return {str(key): str(value) for key, value in network.get_rt_info("framework").value.items()}
