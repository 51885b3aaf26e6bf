# SPDX-License-Identifier: Apache-2.0
"""Fault injection: make some work fail at its n-th call of our own code, for every n.

This is how SQLite tests itself against shortages (https://www.sqlite.org/testing.html#oom_testing):
the first run fails at the first call, the next at the second, until a run completes without
reaching its fault.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import mask_detector_ros

PACKAGE = str(Path(mask_detector_ros.__file__).parent)

SHORTAGES: dict[str, Callable[[], Exception]] = {
    "memory": MemoryError,
    "disk": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "descriptors": lambda: OSError(errno.EMFILE, "Too many open files"),
    "threads": lambda: RuntimeError("can't start new thread"),
}


def fail_at(number: int, error: Exception, work: Callable[[], Any]) -> int:
    """Inject a fault: run some work with an error at its call number `number`; return the number of
    calls that it made.

    Exceptions of the work are raised, including the injected error.
    """
    left = number

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal left
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise error

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return number - left


def every_call(
    make: Callable[[], Exception], work: Callable[[], Any], step: int = 1
) -> Iterator[Exception | None]:
    """Inject a fault at each `step`-th call of some work, in one run each; yield the outcome of
    each run."""
    number = 1
    while True:
        try:
            if fail_at(number, make(), work) < number:
                return
            yield None
        except Exception as error:  # the caller judges it
            yield error
        number += step
