# SPDX-License-Identifier: Apache-2.0
"""Return freed heap memory to the system."""

import ctypes
import gc
import sys

LARGE_IMAGE = 2_000_000
"""Images of at least this many pixels leave heap holes that are worth returning."""

MUCH_SMALLER = 4


def trim_heap() -> None:
    """Return freed heap memory to the system, which takes a few milliseconds.

    Images of changing size, and models loaded in between, leave holes that glibc keeps: 80 MB after
    images of 3840x2160, and some megabytes for each lifecycle cycle of a working node.
    """
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


class HeapTrimmer:
    """Returns heap memory when much smaller images follow large ones."""

    def __init__(self) -> None:
        self._largest = 0

    def before_image(self, pixels: int) -> None:
        """Trim the heap if it may be worth it; call before processing an image of this many
        pixels."""
        if self._largest >= LARGE_IMAGE and pixels * MUCH_SMALLER <= self._largest:
            trim_heap()
            self._largest = 0
        self._largest = max(self._largest, pixels)
