# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on an NVIDIA GPU: reused buffers, CUDA graphs, no silent fallback to the CPU.

ONNX Runtime keeps CUDA graphs, streams and memory per thread that runs a network, and records the
graphs again in each. So one thread per GPU loads and runs all networks.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from mask_detector_ros.errors import BackendError, ModelError
from mask_detector_ros.inference.cuda_provider import PROVIDER, check_provider
from mask_detector_ros.inference.device_buffers import DeviceBuffers
from mask_detector_ros.inference.fixed_slots import has_free_slots, to_fixed_slots
from mask_detector_ros.inference.gpu_parity import check_parity
from mask_detector_ros.inference.gpus import Gpu, find_gpu
from mask_detector_ros.inference.onnxruntime import OnnxRuntimeSession
from mask_detector_ros.inference.options import EngineOptions
from mask_detector_ros.inference.session import GPU_BATCH, Array, Session
from mask_detector_ros.inference.tensorrt.profile import fill_up, make_profile, parity_shapes

GRAPH_LIMIT = 32
"""Maximum number of input shapes per network with a CUDA graph, since ONNX Runtime keeps a graph as
long as the network. Other shapes run without."""

SHAPES_KEPT = 64
"""Maximum number of input shapes per network whose device buffers are kept."""

RECORD_AFTER = 2
"""Runs on one shape after which its CUDA graph is recorded."""

PROVIDER_OPTIONS = {
    # TF32 has only float16's mantissa.
    "use_tf32": "0",
    # Trying all algorithms takes seconds per new shape.
    "cudnn_conv_algo_search": "HEURISTIC",
    # The default strategy doubles the memory at each step; other programs need the GPU too.
    "arena_extend_strategy": "kSameAsRequested",
}
"""Options of ONNX Runtime's CUDA provider."""

_NO_GRAPH = "-1"
"""Value of `gpu_graph_id` that neither records nor replays a CUDA graph."""

_CORE = re.compile(r"CU[A-Z]{2,5} failure \d+: [^;]*[^; ]|Failed to allocate memory[^;]*")
"""What happened, in a message of ONNX Runtime that also has source files, C++ signatures and the
host's name."""

_NO_MEMORY = ("out of memory", "failed to allocate", "alloc_failed")

_RUN_ERRORS = (
    state.Fail,
    state.RuntimeException,
    state.EPFail,
    state.InvalidArgument,
    state.NotImplemented,
    RuntimeError,
)

logger = logging.getLogger(__name__)


def create(
    model: bytes, name: str, threads: int, options: EngineOptions, concurrent: bool
) -> CudaSession:
    """Load a serialised ONNX model in ONNX Runtime on an NVIDIA GPU; see
    `inference.create_session`.

    Raises:
        BackendError: the GPU, its driver or ONNX Runtime's CUDA provider does not work.
        ModelError: the model cannot be loaded, or the GPU's results differ from the CPU's.
    """
    gpu = find_gpu(options.device)
    check_provider()
    if has_free_slots(model):
        # CUDA graphs need fixed shapes.
        model = to_fixed_slots(model, name)
    reference = OnnxRuntimeSession(model, name, threads, concurrent=False)
    options.progress(f"loading {name} on {gpu.name}")
    # Compare the usual and the smallest shape, often enough to use the CUDA graphs;
    # `benchmark.gpu_check` compares all batch sizes.
    steps = parity_shapes(reference.inputs, make_profile(reference.inputs))[:2]
    steps *= RECORD_AFTER + 2
    try:
        session = CudaSession(model, reference, gpu)
        check_parity(session, reference, steps, "fp32")
    except (BackendError, ModelError) as error:
        # CUDA graphs do not support networks with nodes on the CPU, and have given wrong results.
        logger.info("%s runs without CUDA graphs: %s", name, error)
        session = CudaSession(model, reference, gpu, graphs=False)
        check_parity(session, reference, steps[:2], "fp32")
    return session


@functools.cache
def gpu_thread(number: int) -> ThreadPoolExecutor:
    """The thread that runs all ONNX Runtime networks on the GPU with this index."""
    return ThreadPoolExecutor(1, thread_name_prefix=f"gpu-{number}")


class CudaSession(Session):
    """A network in ONNX Runtime on the GPU. Any thread may call it; the work runs in the GPU's
    thread.

    Args:
        reference: the same network on the CPU, which gives the tensors.
        graphs: whether to record CUDA graphs.

    Raises:
        BackendError: ONNX Runtime would run it on the CPU.
    """

    backend = "cuda"
    batch_limit = GPU_BATCH

    def __init__(self, model: bytes, reference: Session, gpu: Gpu, graphs: bool = True) -> None:
        self.name, self.metadata = reference.name, reference.metadata
        self.inputs, self.outputs = reference.inputs, reference.outputs
        self.device = f"{gpu.name} (ONNX Runtime {ort.__version__})"
        self._profile = make_profile(self.inputs)
        self._number = gpu.number
        self._thread = gpu_thread(gpu.number)
        self._buffers: dict[tuple[tuple[int, ...], ...], DeviceBuffers] = {}
        self._recorded = 0
        self._row_shapes: dict[str, tuple[int, ...]] = {}
        self._has_graphs = graphs
        self._session = self._thread.submit(self._open, model).result()

    def _open(self, model: bytes) -> Any:
        settings = ort.SessionOptions()
        # The exceptions say the same.
        settings.log_severity_level = 4
        # But not why the provider cannot be made.
        ort.set_default_logger_severity(3)
        options = {
            **PROVIDER_OPTIONS,
            "device_id": str(self._number),
            "enable_cuda_graph": str(int(self._has_graphs)),
        }
        providers = [(PROVIDER, options), "CPUExecutionProvider"]
        try:
            session = ort.InferenceSession(model, settings, providers=providers, enable_fallback=0)
        except _RUN_ERRORS as error:
            raise self._failure(error) from error
        finally:
            ort.set_default_logger_severity(4)
        if session.get_providers()[0] != PROVIDER:
            raise BackendError(
                f"ONNX Runtime {ort.__version__} would run {self.name} on "
                f"{', '.join(session.get_providers())} and not on the GPU; its messages above, if "
                "any, say why; use backend:=onnxruntime for the CPU"
            )
        return session

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        batch = max((len(arrays[t.name]) for t in self.inputs if t.shape[0] == -1), default=-1)
        if batch == 0 and self._row_shapes:
            return {t.name: np.empty((0, *self._row_shapes[t.name]), t.dtype) for t in self.outputs}
        profile = self._profile
        shapes = {t.name: fill_up(arrays[t.name].shape, profile.get(t.name)) for t in self.inputs}
        try:
            values = self._thread.submit(self._run_filled, arrays, shapes).result()
        except _RUN_ERRORS as error:
            raise self._failure(error) from error
        results = {}
        for tensor in self.outputs:
            rows = values[tensor.name]
            self._row_shapes[tensor.name] = rows.shape[1:]
            results[tensor.name] = rows[:batch] if batch >= 0 and tensor.shape[0] == -1 else rows
        return results

    def _run_filled(
        self, arrays: Mapping[str, Array], shapes: dict[str, tuple[int, ...]]
    ) -> dict[str, Array]:
        buffers = self._buffers_for(shapes)
        buffers.upload(arrays)
        self._execute(buffers)
        return buffers.download()

    def _execute(self, buffers: DeviceBuffers) -> None:
        options = ort.RunOptions()
        if self._has_graphs:
            options.add_run_config_entry("gpu_graph_id", self._graph_id(buffers))
        self._session.run_with_iobinding(buffers.binding, options)
        buffers.runs += 1

    def _buffers_for(self, shapes: dict[str, tuple[int, ...]]) -> DeviceBuffers:
        key = tuple(shapes.values())
        buffers = self._buffers.get(key)
        if buffers is None:
            if len(self._buffers) >= SHAPES_KEPT:
                # The buffers of a recorded graph must not move.
                oldest = next(k for k, v in self._buffers.items() if not v.graph)
                del self._buffers[oldest]
            buffers = DeviceBuffers(self, self._session, shapes, self._number, self._thread)
            self._buffers[key] = buffers
        return buffers

    def _graph_id(self, buffers: DeviceBuffers) -> str:
        if not buffers.graph and buffers.runs >= RECORD_AFTER and self._recorded < GRAPH_LIMIT:
            self._recorded += 1
            buffers.graph = str(self._recorded)
        return buffers.graph or _NO_GRAPH

    def _failure(self, error: Exception) -> BackendError:
        reason = " ".join(str(error).split()).rpartition("Status Message: ")[2]
        if found := _CORE.search(reason):
            reason = found[0]
        reason = reason[:300]
        text = reason.lower()
        if any(words in text for words in _NO_MEMORY):
            advice = "free memory of the GPU, raise min_face_size, or use backend:=onnxruntime"
        elif "busy or unavailable" in text:
            advice = "another process may hold the GPU exclusively; end it, or set another device"
        elif "no kernel image" in text:
            advice = (
                "the installed onnxruntime-gpu is not built for this GPU; install a build that "
                "is (docs/how-to/gpus.md), or use backend:=onnxruntime"
            )
        else:
            advice = "check the GPU with nvidia-smi and dmesg (Xid), then start again"
        return BackendError(f"{self.name} failed on {self.device}: {reason}; {advice}")
