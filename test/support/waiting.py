# SPDX-License-Identifier: Apache-2.0
"""Wait for conditions, never for a fixed time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmark.processes import LIMIT, wait_for


def wait_until(condition: Callable[[], Any], timeout: float = LIMIT, what: str = "") -> Any:
    """Poll until the condition is true; return its value, or fail."""
    return wait_for(condition, what or str(condition), timeout)
