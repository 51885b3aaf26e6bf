# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the CPU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.openvino_graph import (
    convert_rows,
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
"""Maximum number of crops per pass; more are split evenly. Each size has its own copy of the
weights, which must come into the core's cache again: nine crops take 1.06 of ONNX Runtime's time as
five and four, and 1.09 as eight and one."""

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
    several crops. P-Net is a seventh slower even with a constant shape. A batch whose size does not
    recur runs as single crops, so that the dynamic network of crops keeps one shape.
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
        self._has_streams = threads != 1
        if not self._has_streams:
            # Without streams, the caller's thread does all the work. Otherwise each compiled
            # network starts two threads, and a frame's networks of all shapes up to 136.
            self._settings["NUM_STREAMS"] = 0
        try:
            self._network = self._core.read_model(model, b"")
            self.inputs = tuple(_tensor_info(port) for port in self._network.inputs)
            restore_prelu(self._network)
            split_flat_maps(self._network)
            convert_rows(self._network)
            self._takes_pixels = [is_image(tensor) for tensor in self.inputs]
            self._network = with_channels_last(self._network, self._takes_pixels)
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
        self._of_shape: dict[_Shapes, _Fixed] = {}
        self._came: Counter[_Shapes] = Counter()
        self._runs = 0
        self._names = [tensor.name for tensor in self.outputs]
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
        values = [
            np.moveaxis(arrays[tensor.name], 1, -1) if takes_pixels else arrays[tensor.name]
            for tensor, takes_pixels in zip(self.inputs, self._takes_pixels, strict=True)
        ]
        return dict(zip(self._names, self._run_batch(values), strict=True))

    def _run_batch(self, values: list[Array]) -> list[Array]:
        """Run on inputs in OpenVINO's memory layout, in one pass or several."""
        shapes = tuple([value.shape for value in values])
        fixed = self._of_shape.get(shapes)
        if fixed is not None:
            self._runs += 1
            fixed.last_run = self._runs
            return fixed.run(values)
        if not all(value.size for value in values):
            # For an empty batch OpenVINO returns its previous result.
            return [np.empty((0, *tensor.shape[1:]), tensor.dtype) for tensor in self.outputs]
        passes = -(-len(values[0]) // BATCH) if self._takes_batches else 1
        if passes == 1:
            fixed = self._fix(shapes)
            if fixed is not None:
                return fixed.run(values)
            if not self._takes_batches or len(values[0]) == 1:
                return self._run_any_shape(values)
        step = -(-len(values[0]) // passes) if passes > 1 else 1
        parts = [
            self._run_batch([value[start : start + step] for value in values])
            for start in range(0, len(values[0]), step)
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _run_any_shape(self, values: list[Array]) -> list[Array]:
        request = self._of_any_shape
        # OpenVINO's tensors do not keep the arrays alive.
        arrays = [
            np.require(value, tensor.dtype, ["C", "W"])
            for value, tensor in zip(values, self.inputs, strict=True)
        ]
        for index, array in enumerate(arrays):
            request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
        _infer(request, self._has_streams)
        return [request.get_output_tensor(i).data.copy() for i in range(len(self.outputs))]

    def _fix(self, shapes: _Shapes) -> _Fixed | None:
        """Compile the network for inputs of these shapes if they recur often."""
        if not self._has_free_shape:
            return None
        self._runs += 1
        if len(self._came) > 10 * UNUSED_AFTER:
            self._came.clear()
        self._came[shapes] += 1
        if self._came[shapes] < FIXED_AFTER or not self._make_room(shapes):
            return None
        network = self._network.clone()
        network.reshape(dict(zip((t.name for t in self.inputs), shapes, strict=True)))
        fixed = _Fixed(self._compile(network).create_infer_request(), self._has_streams, self._runs)
        del self._came[shapes]
        self._of_shape[shapes] = fixed
        return fixed

    def _make_room(self, shapes: _Shapes) -> bool:
        """Whether another shape can be kept, possibly replacing some that no longer occur."""
        while self._of_shape and sum(map(_values, (shapes, *self._of_shape))) > VALUES_KEPT:
            oldest = min(self._of_shape, key=lambda shapes: self._of_shape[shapes].last_run)
            if self._runs - self._of_shape[oldest].last_run < UNUSED_AFTER:
                return False
            del self._of_shape[oldest]
        return True


class _Fixed:
    """A network compiled for one shape of each input.

    Attributes:
        last_run: number of the session's run that used it last.
    """

    def __init__(self, request: Any, has_streams: bool, last_run: int) -> None:
        network = request.get_compiled_model()
        self.last_run = last_run
        self._request, self._has_streams = request, has_streams
        # Its memory stays where it is.
        self._inputs = [request.get_input_tensor(i).data for i in range(len(network.inputs))]
        self._outputs = [request.get_output_tensor(i).data for i in range(len(network.outputs))]

    def run(self, values: list[Array]) -> list[Array]:
        # Sharing NumPy's memory takes longer than copying into OpenVINO's: it is not aligned, and
        # elsewhere for each frame.
        for memory, value in zip(self._inputs, values, strict=True):
            memory[:] = value
        _infer(self._request, self._has_streams)
        return [output.copy() for output in self._outputs]


def _infer(request: Any, has_streams: bool) -> None:
    """Run in this thread, whose core has the images in its cache."""
    if has_streams:
        # `start_async` would run in another thread.
        request.infer(share_outputs=True)
    else:
        # Without streams it runs here, and does not make a dictionary of the outputs.
        request.start_async()
        request.wait()


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
