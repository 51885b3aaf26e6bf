# SPDX-License-Identifier: Apache-2.0
"""Choose the GPU backend that `auto` switches to, and give the reason."""

import logging
from collections.abc import Callable
from typing import TypeVar

from mask_detector_ros.errors import BackendError, ModelError
from mask_detector_ros.inference import GPU_BACKENDS, install_hint, is_installed
from mask_detector_ros.inference.cuda_provider import check_provider
from mask_detector_ros.inference.gpus import Gpu, find_gpu
from mask_detector_ros.inference.tensorrt.api import TensorRt
from mask_detector_ros.inference.tensorrt.builder import BuildCancelledError

LIBRARIES = {"tensorrt": "TensorRT", "cuda": "ONNX Runtime CUDA"}
"""Names of the backends in log messages."""

Loaded = TypeVar("Loaded")

logger = logging.getLogger(__name__)


def find_serving_gpu(device: int) -> tuple[Gpu | None, str]:
    """Choose the GPU that `auto` may switch to, or None and the reason for staying on the CPU."""
    is_ready = any(map(is_installed, GPU_BACKENDS))
    try:
        gpu = find_gpu(device)
    except BackendError as error:
        # Without GPU libraries the short reason is enough.
        return None, f"staying on the CPU: {error if is_ready else 'no NVIDIA GPU was found'}"
    if is_ready:
        return gpu, ""
    names = " and ".join(LIBRARIES.values())
    return None, (
        f"staying on the CPU: {gpu.name} was found, but {names} are not installed; do: "
        f"{install_hint('cuda')}"
    )


def obstacle(backend: str, gpu: Gpu) -> str:
    """Why a GPU backend cannot be chosen for a GPU; empty if it can."""
    if not is_installed(backend):
        return f"{LIBRARIES[backend]} is not installed"
    try:
        if backend == "tensorrt":
            TensorRt().check_gpu(gpu)
        else:
            check_provider()
    except BackendError as error:
        return str(error)
    return ""


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
