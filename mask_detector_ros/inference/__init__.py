"""Running ONNX models: one interface, one module a backend, loaded only when chosen."""

from __future__ import annotations

import importlib
import importlib.util
import logging

from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference.base import EngineOptions, Session
from mask_detector_ros.inference.tensorrt.api import install_hint, missing_packages

BACKENDS = ("onnxruntime", "openvino", "tensorrt")
"""Names of the backends. `auto` starts on the first of the others that is installed, and goes
over to tensorrt where there is a GPU, once its engines are built."""

_MODULES = {
    "onnxruntime": f"{__name__}.onnxruntime",
    "openvino": f"{__name__}.openvino",
    "tensorrt": f"{__name__}.tensorrt.session",
}

_INSTALL = {
    "onnxruntime": "pip install onnxruntime",
    "openvino": 'pip install "mask_detector_ros[openvino]"',
}

__all__ = ["BACKENDS", "EngineOptions", "choose_backend", "create_session", "find_engine_gpu"]

logger = logging.getLogger(__name__)


def choose_backend(backend: str) -> str:
    """Turn `auto` into the backend to start on; check that an explicit one is installed.

    Raises:
        BackendError: the backend is unknown or not installed; the message says how to get it.
    """
    if backend == "auto":
        for name in _INSTALL:
            if importlib.util.find_spec(name) is not None:
                logger.info("backend auto: %s", name)
                return name
        raise BackendError(f"no inference backend is installed; do: {_INSTALL['onnxruntime']}")
    if backend not in BACKENDS:
        raise BackendError(f"backend must be one of auto, {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "tensorrt":
        if missing_packages():
            raise BackendError(f"backend tensorrt is not installed; do: {install_hint()}")
    elif importlib.util.find_spec(backend) is None:
        raise BackendError(f"backend {backend} is not installed; do: {_INSTALL[backend]}")
    return backend


def find_engine_gpu(device: int) -> str:
    """What `auto` can go over to: the name of the GPU; empty where TensorRT cannot run.

    Args:
        device: number of the GPU.
    """
    if missing_packages():
        return ""
    from mask_detector_ros.inference.tensorrt.cuda import find_gpu

    try:
        return find_gpu(device).name
    except BackendError as error:
        logger.info("backend auto stays on the CPU: %s", error)
        return ""


def create_session(
    model: bytes,
    name: str,
    backend: str = "auto",
    threads: int = 0,
    options: EngineOptions | None = None,
    concurrent: bool = False,
) -> Session:
    """Load a serialised ONNX model.

    Args:
        model: the content of an ONNX file.
        name: what to call the model in errors.
        backend: `auto` or one of `BACKENDS`.
        threads: CPU threads; 0 takes all cores that the process may use.
        options: of a backend that builds engines.
        concurrent: whether the caller would rather run it in several threads at a time; where the
            backend lets it, the session's `concurrency` is their number.

    Raises:
        BackendError: the backend is not there.
        ModelError: the model cannot be loaded.
    """
    module = importlib.import_module(_MODULES[choose_backend(backend)])
    session: Session = module.create(model, name, threads, options or EngineOptions(), concurrent)
    return session
