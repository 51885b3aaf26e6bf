# SPDX-License-Identifier: Apache-2.0
"""CUDA through pycuda: one thread per GPU that owns all objects on it, buffers, and graphs."""

import ctypes
import functools
import logging
import queue
import threading
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference.gpus import load_libcuda
from mask_detector_ros.inference.tensorrt.api import install_hint, missing_packages

Result = TypeVar("Result")
END_TIMEOUT = 2.0
"""Seconds that the thread has to free the GPU when the process ends."""

_BUILD_AGAIN = "pip install --force-reinstall --no-deps --no-cache-dir pycuda"

logger = logging.getLogger(__name__)


def load_pycuda() -> Any:
    """Import pycuda's interface to the driver, and start CUDA.

    Raises:
        BackendError: pycuda does not match this machine's CUDA or Python, or CUDA does not start.
    """
    try:
        import pycuda.driver as driver
    except ImportError as error:
        hint = install_hint() if missing_packages() else _BUILD_AGAIN
        raise BackendError(
            f"pycuda cannot be imported ({error}); backend tensorrt needs it, built for this "
            f"machine's CUDA; do: {hint}"
        ) from error
    try:
        driver.init()
    except driver.Error as error:
        raise BackendError(
            f"CUDA does not start ({error}); check with nvidia-smi that the driver is loaded and "
            "matches, or use backend:=onnxruntime"
        ) from error
    return driver


class CudaThread:
    """The thread that owns a GPU's CUDA context. Get it from `cuda_thread`.

    It uses the primary context, as TensorRT does.
    """

    def __init__(self, number: int) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]
        self._jobs = queue.SimpleQueue()
        self.driver = load_pycuda()
        self._thread = threading.Thread(
            target=self._run, args=(number,), name=f"cuda-{number}", daemon=True
        )
        self._thread.start()
        # At exit finalizers run in reverse order of creation: this one after those of the sessions.
        weakref.finalize(self._thread, self._end)
        self.stream: Any = self.call(self.driver.Stream)

    def call(self, function: Callable[[], Result]) -> Result:
        """Run a function in the CUDA thread; return its result or raise its exception.

        Raises:
            BackendError: CUDA failed.
        """
        if threading.current_thread() is self._thread:
            return function()
        try:
            return self.post(function).result()
        except self.driver.Error as error:
            raise BackendError(f"CUDA failed: {error}") from error

    def post(self, function: Callable[[], Result]) -> Future[Result]:
        """Run a function in the CUDA thread, later."""
        future: Future[Result] = Future()
        self._jobs.put((function, future))
        return future

    def _run(self, number: int) -> None:
        context = None
        while job := self._jobs.get():
            function, future = job
            try:
                if context is None:
                    context = self.driver.Device(number).retain_primary_context()
                    context.push()
                future.set_result(function())
            except BaseException as error:  # raised again in the waiting thread
                # Free here what its traceback holds: pycuda frees nothing in another thread.
                _clear_frames(error)
                future.set_exception(error)
            # Drop references to the job now, not when the next one arrives.
            del job, function, future
        if context is not None:
            context.pop()

    def _end(self) -> None:
        def free_stream() -> None:
            self.stream = None

        self.post(free_stream)
        self._jobs.put(None)
        self._thread.join(END_TIMEOUT)


def _clear_frames(error: BaseException | None) -> None:
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@functools.cache
def cuda_thread(number: int) -> CudaThread:
    """The CUDA thread of the GPU with this index."""
    return CudaThread(number)


class Buffer:
    """A CUDA buffer of a tensor: pinned on the host and on the GPU; it grows as needed.

    Use only in the GPU's thread.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._size = 0
        self._pinned: Any = None
        self._memory: Any = None

    def reserve(self, size: int) -> bool:
        """Grow the CUDA buffer to at least `size` bytes; return whether the memory moved."""
        if size <= self._size:
            return False
        # Free the old memory first: on a Jetson host and GPU share one memory.
        self._pinned = self._memory = None
        self._pinned = self._driver.pagelocked_empty(size, np.uint8)
        self._memory = self._driver.mem_alloc(size)
        self._size = size
        return True

    @property
    def address(self) -> int:
        """Address of the CUDA buffer on the GPU."""
        return int(self._memory)

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The CUDA buffer's host memory as an array."""
        size = dtype.itemsize * int(np.prod(shape))
        array: NDArray[Any] = self._pinned[:size].view(dtype).reshape(shape)
        return array

    def upload(self, size: int, stream: Any) -> None:
        """Start copying the CUDA buffer from the host to the GPU."""
        self._driver.memcpy_htod_async(self._memory, self._pinned[:size], stream)

    def download(self, size: int, stream: Any) -> None:
        """Start copying the CUDA buffer from the GPU to the host."""
        self._driver.memcpy_dtoh_async(self._pinned[:size], self._memory, stream)


class CudaGraph:
    """A CUDA graph: the work that a function enqueues, recorded once and replayed with one call.

    pycuda has no graphs, so this calls the driver library. Use only in the GPU's thread.

    Raises:
        BackendError: recording failed; the stream stays usable.
    """

    _RELAXED = 2

    def __init__(self, stream: int, record: Callable[[], None]) -> None:
        self._cuda = load_libcuda()
        if not hasattr(self._cuda, "cuGraphInstantiateWithFlags"):
            raise BackendError("the driver is too old for CUDA graphs, which need CUDA 11.4")
        self._stream = ctypes.c_void_p(stream)
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._check("cuStreamBeginCapture_v2", self._stream, self._RELAXED)
        try:
            record()
        finally:
            ended = self._cuda.cuStreamEndCapture(self._stream, ctypes.byref(graph))
        if ended or not graph.value:
            raise BackendError(f"a CUDA graph could not be recorded (CUDA error {ended})")
        try:
            # The signature of this call is unchanged since CUDA 11.4 (JetPack 5).
            self._check(
                "cuGraphInstantiateWithFlags",
                ctypes.byref(executable),
                graph,
                ctypes.c_ulonglong(0),
            )
        finally:
            self._cuda.cuGraphDestroy(graph)
        self._executable = executable

    def launch(self) -> None:
        """Enqueue the recorded work of the CUDA graph in the stream."""
        self._check("cuGraphLaunch", self._executable, self._stream)

    def free(self) -> None:
        """Free the CUDA graph."""
        self._cuda.cuGraphExecDestroy(self._executable)

    def _check(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            raise BackendError(f"{name} failed with CUDA error {code}")
