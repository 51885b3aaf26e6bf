# SPDX-License-Identifier: Apache-2.0
"""The inference backends: which exist, which are installed, and loading a model with one."""

import importlib
import importlib.util
import logging
from typing import Any

from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference import cuda_provider
from mask_detector_ros.inference.options import EngineOptions, ServerOptions
from mask_detector_ros.inference.session import Session
from mask_detector_ros.inference.tensorrt import api

CPU_BACKENDS = ("onnxruntime", "openvino")
"""CPU backends; `auto` starts on the first that is installed."""

GPU_BACKENDS = ("tensorrt", "cuda")
"""NVIDIA GPU backends; `auto` switches to the first that works."""

BACKENDS = (*CPU_BACKENDS, *GPU_BACKENDS)
"""Backends that run the networks on this machine."""

SERVER_BACKENDS = ("triton",)
"""Backends that send the images to an inference server."""

_MODULES = {
    "onnxruntime": f"{__package__}.onnxruntime",
    "openvino": f"{__package__}.openvino",
    "tensorrt": f"{__package__}.tensorrt.session",
    "cuda": f"{__package__}.onnxruntime_cuda",
    "triton": f"{__package__}.triton.session",
}

_INSTALL = {
    "onnxruntime": "pip install onnxruntime",
    "openvino": "pip install openvino",
    "triton": 'pip install "tritonclient[grpc]"',
}

logger = logging.getLogger(__name__)


def is_installed(backend: str) -> bool:
    """Whether an inference backend's libraries are installed; they may still not work on this
    machine."""
    if backend == "tensorrt":
        return not api.missing_packages()
    if backend == "cuda":
        return cuda_provider.provider_library() is not None
    if backend == "triton":
        return all(map(importlib.util.find_spec, ("tritonclient", "grpc")))
    return _has_origin(backend)


def _has_origin(package: str) -> bool:
    """Whether a package has a module file. What pip leaves of a folder that two packages installed,
    after the removal of one of them, has none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def install_hint(backend: str) -> str:
    """The command that installs an inference backend's libraries on this machine."""
    if backend == "tensorrt":
        return api.install_hint()
    if backend == "cuda":
        return cuda_provider.install_hint()
    if backend in CPU_BACKENDS and importlib.util.find_spec(backend) is not None:
        # It does not load, or only a part of it is left.
        both = " onnxruntime-gpu" if backend == "onnxruntime" else ""
        return f"pip uninstall -y {backend}{both} && {_INSTALL[backend]}"
    return _INSTALL[backend]


def choose_backend(backend: str) -> str:
    """Resolve backend `auto` to the one to start on; check that an explicit choice is installed.

    Raises:
        BackendError: the backend is unknown or not installed; the message says how to get it.
    """
    if backend == "auto":
        for name in CPU_BACKENDS:
            if is_installed(name):
                logger.info("backend auto: %s", name)
                return name
        raise BackendError(f"no inference backend is installed; do: {install_hint('onnxruntime')}")
    known = (*BACKENDS, *SERVER_BACKENDS)
    if backend not in known:
        raise BackendError(f"backend must be one of auto, {', '.join(known)}, got {backend!r}")
    if not is_installed(backend):
        raise BackendError(f"backend {backend} is not installed; do: {install_hint(backend)}")
    return backend


def create_session(
    model: bytes,
    name: str,
    backend: str = "auto",
    threads: int = 0,
    options: EngineOptions | None = None,
    concurrent: bool = False,
) -> Session:
    """Load a serialised ONNX model with an inference backend.

    Args:
        model: the content of an ONNX file.
        name: the model's name in error messages.
        backend: `auto` or one of `BACKENDS`.
        threads: CPU threads; 0 uses all cores available to the process.
        options: options of the GPU backends.
        concurrent: whether the caller prefers to run it from several threads at a time. If the
            backend supports that, the session's `concurrency` is their number.

    Raises:
        BackendError: the backend is not available.
        ModelError: the model cannot be loaded.
    """
    module = _import(choose_backend(backend))
    session: Session = module.create(model, name, threads, options or EngineOptions(), concurrent)
    return session


def _import(backend: str) -> Any:
    try:
        return importlib.import_module(_MODULES[backend])
    except (ImportError, OSError) as error:
        raise BackendError(
            f"the libraries of backend {backend} cannot be imported ({error}); do: "
            f"{install_hint(backend)}"
        ) from error


def connect(options: ServerOptions) -> Session:
    """Connect to a whole detector on an inference server (a server backend), and check that it is
    the expected one.

    Raises:
        BackendError: the libraries are not installed, or the server rejects this client.
        ServerError: the server is not there, or does not answer in time.
        ModelError: the server has no such model, or it is not the expected one.
    """
    module = _import(choose_backend(SERVER_BACKENDS[0]))
    session: Session = module.connect(options)
    return session
