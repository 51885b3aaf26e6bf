# SPDX-License-Identifier: Apache-2.0
"""Import OpenVINO without its telemetry and with a bounded cache."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PRIMITIVE_CACHE = 16
"""Maximum number of compiled primitives that oneDNN, OpenVINO's kernel library, keeps for the whole
process. With its default of 1024, image sizes and freed models leave 60 MB behind."""


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


# oneDNN reads the variable when it is loaded; a value set by the user holds.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVE_CACHE))
with _without_telemetry():
    import openvino as ov
    from openvino import opset13, preprocess

__all__ = ["opset13", "ov", "preprocess"]
