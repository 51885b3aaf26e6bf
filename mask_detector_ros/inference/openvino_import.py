"""The library OpenVINO, imported without what reports its use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Import OpenVINO inside.

    `import openvino` also loads its converter, which would write `~/intel/` and open a connection
    to report that. There is no switch for it; without the package that reports, it loads a stub.
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
