# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime as ort

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.cores import usable_cores
from mask_detector_ros.inference.options import EngineOptions
from mask_detector_ros.inference.session import Array, Session, TensorInfo

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
}


def create(
    model: bytes, name: str, threads: int, options: EngineOptions, concurrent: bool
) -> OnnxRuntimeSession:
    """Load a serialised ONNX model in ONNX Runtime on the CPU; see `inference.create_session`."""
    return OnnxRuntimeSession(model, name, threads, concurrent)


class OnnxRuntimeSession(Session):
    """An ONNX Runtime session with its own thread pool."""

    backend = "onnxruntime"

    def __init__(self, model: bytes, name: str, threads: int, concurrent: bool) -> None:
        options = ort.SessionOptions()
        # By default it also counts cores that the container may not use, and binds thread k
        # of every process to core k.
        threads = threads or usable_cores()
        self.concurrency = threads if concurrent else 1
        options.intra_op_num_threads = 1 if concurrent else threads
        options.log_severity_level = 3
        # Several sessions share the cores: a pool that spins after its call takes time
        # from the next one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self.inputs = tuple(_tensor_info(t) for t in self._session.get_inputs())
            self.outputs = tuple(_tensor_info(t) for t in self._session.get_outputs())
            # Reading text that is not UTF-8 raises ValueError.
            self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except _LOAD_ERRORS as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{name} is not a model that ONNX Runtime {ort.__version__} can load ({reason}); "
                "the file is damaged or not an ONNX model: get it again"
            ) from error
        self.name = name
        self.device = "CPU"
        self._output_names = [tensor.name for tensor in self.outputs]

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        inputs = {t.name: np.ascontiguousarray(arrays[t.name], t.dtype) for t in self.inputs}
        values = self._session.run(self._output_names, inputs)
        return dict(zip(self._output_names, values, strict=True))


def _tensor_info(node: ort.NodeArg) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorInfo(node.name, np.dtype(_DTYPES.get(node.type, object)), shape)


def _load_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = "Fail InvalidArgument InvalidGraph InvalidProtobuf NoModel NotImplemented"
    return (*(getattr(state, name) for name in names.split()), RuntimeError, ValueError)


_LOAD_ERRORS = _load_errors()
