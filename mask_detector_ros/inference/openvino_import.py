# SPDX-License-Identifier: Apache-2.0
"""Import OpenVINO without its telemetry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Context in which to import OpenVINO.

    `import openvino` also loads its converter, which writes `~/intel/` and sends telemetry. There
    is no switch for that, but without the telemetry package it loads a stub.
    """
    name = "openvino_telemetry"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        yield
    finally:
        del sys.modules[name]


with _without_telemetry():
    import openvino as ov
    from openvino import opset13, preprocess

__all__ = ["opset13", "ov", "preprocess"]
