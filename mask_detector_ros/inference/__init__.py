"""Running ONNX models: one interface, one module a backend, loaded only when chosen."""

from __future__ import annotations

import importlib
import importlib.util
import logging

from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference.base import Session

BACKENDS = ("onnxruntime", "openvino")
"""Names of the backends, in the order in which `auto` tries them."""

_INSTALL = {
    "onnxruntime": "pip install onnxruntime",
    "openvino": 'pip install "mask_detector_ros[openvino]"',
}

logger = logging.getLogger(__name__)


def choose_backend(backend: str) -> str:
    """Turn `auto` into the first installed backend; check that an explicit one is installed.

    Raises:
        BackendError: the backend is unknown or not installed; the message says how to get it.
    """
    if backend == "auto":
        for name in BACKENDS:
            if importlib.util.find_spec(name) is not None:
                logger.info("backend auto: %s", name)
                return name
        raise BackendError(f"no inference backend is installed; do: {_INSTALL['onnxruntime']}")
    if backend not in BACKENDS:
        raise BackendError(f"backend must be one of auto, {', '.join(BACKENDS)}, got {backend!r}")
    if importlib.util.find_spec(backend) is None:
        raise BackendError(f"backend {backend} is not installed; do: {_INSTALL[backend]}")
    return backend


def create_session(model: bytes, name: str, backend: str = "auto", threads: int = 0) -> Session:
    """Load a serialised ONNX model.

    Args:
        model: the content of an ONNX file.
        name: what to call the model in errors.
        backend: `auto` or one of `BACKENDS`.
        threads: CPU threads; 0 leaves the choice to the backend.

    Raises:
        BackendError: the backend is not there.
        ModelError: the model cannot be loaded.
    """
    module = importlib.import_module(f"{__name__}.{choose_backend(backend)}")
    session: Session = module.create(model, name, threads)
    return session
