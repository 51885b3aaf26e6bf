"""Memory that the process has freed, given back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys

LARGE_IMAGE = 2_000_000
"""Pixels from which on an image leaves holes in the heap that are worth giving back."""

MUCH_SMALLER = 4


def return_memory() -> None:
    """Give freed memory back to the system, which takes some milliseconds.

    Images of changing size, and models loaded between them, leave holes that glibc keeps: after
    images of 3840x2160 they were 80 MB, and a node that is cycled while it works grew by megabytes
    each time.
    """
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


class HeapKeeper:
    """Returns memory when large images are followed by much smaller ones."""

    def __init__(self) -> None:
        self._largest = 0

    def see(self, pixels: int) -> None:
        """Before an image of so many pixels is processed."""
        if self._largest >= LARGE_IMAGE and pixels * MUCH_SMALLER <= self._largest:
            return_memory()
            self._largest = 0
        self._largest = max(self._largest, pixels)
