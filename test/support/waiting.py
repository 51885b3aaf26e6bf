"""Waiting for conditions, never for time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

TIMEOUT = 60.0
"""Seconds that anything may take on a busy machine before a test gives up."""


def happens(condition: Callable[[], Any], within: float) -> Any:
    """Poll until the condition gives something true, or so many seconds are over; the value."""
    end = time.monotonic() + within
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return value


def wait_until(condition: Callable[[], Any], timeout: float = TIMEOUT, what: str = "") -> Any:
    """Poll until the condition gives something true; return it, or fail."""
    value = happens(condition, timeout)
    assert value, f"waited {timeout:g} s for {what or condition}"
    return value
