# SPDX-License-Identifier: Apache-2.0
"""Host memory that a GPU copies from and to without the driver's intermediate copy."""

import _thread
import ctypes
import logging
import math
import weakref
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from mask_detector_ros.inference import gpus
from mask_detector_ros.inference.session import Array

_PORTABLE = 1
"""`CU_MEMHOSTALLOC_PORTABLE` of cuda.h: pinned for all contexts of the process."""

logger = logging.getLogger(__name__)


def pinned_zeros(shape: tuple[int, ...], dtype: DTypeLike, thread: Executor) -> Array:
    """Return an array of zeros in pinned memory, or in ordinary memory if the driver has none.

    Call it in the GPU's thread, which has a current CUDA context.

    Args:
        thread: the GPU's thread, which frees the memory when the array is gone.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    cuda, address = gpus.load_libcuda(), ctypes.c_void_p()
    code = cuda.cuMemHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), _PORTABLE)
    if code or not address.value:
        logger.debug("no pinned memory for %d bytes: cuMemHostAlloc gives error %d", size, code)
        return np.zeros(shape, dtype)
    memory: Any = (ctypes.c_uint8 * size).from_address(address.value)
    # At exit the driver frees all.
    weakref.finalize(memory, _free, cuda, address, thread).atexit = False
    array: Array = np.frombuffer(memory, dtype).reshape(shape)
    array[...] = 0
    return array


def _free(cuda: Any, address: ctypes.c_void_p, thread: Executor) -> None:
    # Garbage collection calls this anywhere, also inside `submit`, whose lock it would wait for,
    # and while the interpreter ends.
    with suppress(RuntimeError):
        _thread.start_new_thread(_free_in, (thread, cuda, address))


def _free_in(thread: Executor, cuda: Any, address: ctypes.c_void_p) -> None:
    # An executor that was shut down has no thread; the driver frees all at exit.
    with suppress(RuntimeError):
        thread.submit(cuda.cuMemFreeHost, address)
