# SPDX-License-Identifier: Apache-2.0
"""Choose the GPU backend that `auto` switches to, and give the reason."""

import logging
from collections.abc import Callable
from typing import TypeVar

from mask_detector_ros.errors import BackendError, ModelError
from mask_detector_ros.inference import (
    GPU_BACKENDS,
    choose_backend,
    install_hint,
    is_installed,
)
from mask_detector_ros.inference.cuda_provider import check_provider
from mask_detector_ros.inference.gpus import Gpu, find_gpu
from mask_detector_ros.inference.tensorrt import api
from mask_detector_ros.inference.tensorrt.builder import BuildCancelledError
from mask_detector_ros.inference.tensorrt.cuda import load_pycuda

LIBRARIES = {"tensorrt": "TensorRT", "cuda": "ONNX Runtime CUDA"}
"""Names of the backends in log messages."""

ON_CPU = "staying on the CPU"
"""What `auto` does without a GPU that works, in log messages."""

Loaded = TypeVar("Loaded")

logger = logging.getLogger(__name__)


def find_serving_gpu(device: int) -> tuple[Gpu | None, str]:
    """Choose the GPU that `auto` may switch to, or None and the reason for staying on the CPU."""
    is_ready = any(map(is_installed, GPU_BACKENDS))
    try:
        gpu = find_gpu(device)
    except BackendError as error:
        # Without GPU libraries the short reason is enough.
        return None, str(error) if is_ready else "no NVIDIA GPU was found"
    if is_ready:
        return gpu, ""
    names = " and ".join(LIBRARIES.values())
    return None, (
        f"{gpu.name} was found, but {names} are not installed; do: {install_hint('cuda')}"
    )


def require_backend(backend: str, device: int) -> str:
    """Resolve backend `auto` as `choose_backend` does; check that an explicit choice works on this
    machine, before it loads a network.

    Raises:
        BackendError: its libraries, the driver or the GPU are missing or do not work; the message
            says what to do.
    """
    name = choose_backend(backend)
    if name in GPU_BACKENDS:
        try:
            _check_libraries(name, find_gpu(device))
        except api.UnsupportedGpuError as error:
            # `auto` adds what it uses instead.
            raise BackendError(f"{error}; use backend:=cuda or backend:=onnxruntime") from error
    return name


def obstacle(backend: str, gpu: Gpu) -> str:
    """Why a GPU backend cannot be chosen for a GPU; empty if it can."""
    try:
        _check_libraries(backend, gpu)
    except BackendError as error:
        return str(error)
    return ""


def _check_libraries(backend: str, gpu: Gpu) -> None:
    if not is_installed(backend):
        partly = backend == "tensorrt" and api.installed_module()
        raise BackendError(
            f"{LIBRARIES[backend]} is not installed"
            + (f" completely; do: {install_hint(backend)}" if partly else "")
        )
    if backend == "tensorrt":
        api.TensorRt().check_gpu(gpu)
        load_pycuda()
    else:
        check_provider()


def load_on_gpu(gpu: Gpu, load: Callable[[str], Loaded]) -> tuple[Loaded, str]:
    """Load with the first backend of the choice that works on the GPU.

    Args:
        load: loads with the backend of the given name.

    Returns:
        The result of `load`, and a line with the reason for this backend.

    Raises:
        BackendError: no backend works; the message gives the reason for each.
        BuildCancelledError: the caller cancelled.
    """
    reasons: list[str] = []
    for backend in GPU_BACKENDS:
        reason = obstacle(backend, gpu)
        if not reason:
            try:
                loaded = load(backend)
            except BuildCancelledError:
                raise
            except (BackendError, ModelError) as error:
                reason = str(error)
            else:
                return loaded, "; ".join([*reasons, f"using {LIBRARIES[backend]} on {gpu.name}"])
        reasons.append(reason)
    raise BackendError("; ".join(reasons))
