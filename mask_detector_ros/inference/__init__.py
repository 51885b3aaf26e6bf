# SPDX-License-Identifier: Apache-2.0
"""Run ONNX models: one interface, one module per backend, imported only when chosen."""

from mask_detector_ros.inference.backends import (
    BACKENDS,
    CPU_BACKENDS,
    GPU_BACKENDS,
    SERVER_BACKENDS,
    choose_backend,
    connect,
    create_session,
    install_hint,
    is_installed,
)
from mask_detector_ros.inference.options import EngineOptions, ServerOptions

__all__ = [
    "BACKENDS",
    "CPU_BACKENDS",
    "GPU_BACKENDS",
    "SERVER_BACKENDS",
    "EngineOptions",
    "ServerOptions",
    "choose_backend",
    "connect",
    "create_session",
    "install_hint",
    "is_installed",
]
