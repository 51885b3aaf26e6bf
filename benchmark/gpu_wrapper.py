# SPDX-License-Identifier: Apache-2.0
"""Checks of our own CUDA code on a real GPU: buffers, streams, graphs and threads."""

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.inference.tensorrt.cuda import Buffer, CudaGraph, CudaThread, cuda_thread

SIZE = 1 << 20
"""Bytes of one buffer."""

REPLAYS, BUFFERS, THREADS = 600, 300, 8

KEPT_LIMIT = 4 << 20
"""Bytes of GPU memory that the driver may keep after all buffers are freed."""


def _fill(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)


class _Copier:
    """Two CUDA buffers, and the copy from the host memory of the first through the GPU to that of
    the second."""

    def __init__(self, thread: CudaThread) -> None:
        self._driver, self.stream = thread.driver, thread.stream
        self.source, self.target = Buffer(thread.driver), Buffer(thread.driver)
        for buffer in (self.source, self.target):
            assert buffer.reserve(SIZE)
            assert not buffer.reserve(SIZE // 2)

    def enqueue(self) -> None:
        self.source.upload(SIZE, self.stream)
        self._driver.memcpy_dtod_async(self.target.address, self.source.address, SIZE, self.stream)
        self.target.download(SIZE, self.stream)

    def check(self, seed: int, go: Any) -> None:
        """Write to the first CUDA buffer, copy, and compare the second."""
        expected = _fill(seed)
        self.source.view((SIZE,), np.dtype(np.uint8))[...] = expected
        self.target.view((SIZE,), np.dtype(np.uint8))[...] = 0
        go()
        self.stream.synchronize()
        got = self.target.view((SIZE,), np.dtype(np.uint8))
        assert (got == expected).all(), f"{(got != expected).sum()} bytes of round {seed} differ"


def check_buffers(device: int) -> dict[str, Any]:
    """Check CUDA buffers on a GPU: copy to it, within it, and back."""
    thread = cuda_thread(device)

    def work() -> None:
        copier = _Copier(thread)
        for seed in range(20):
            copier.check(seed, copier.enqueue)

    thread.call(work)
    return {"bytes_copied": 20 * SIZE}


def check_graph(device: int) -> dict[str, Any]:
    """Check a CUDA graph: record copies once, and replay them with new bytes each time."""
    thread = cuda_thread(device)

    def work() -> None:
        copier = _Copier(thread)
        copier.check(0, copier.enqueue)
        graph = CudaGraph(thread.stream.handle, copier.enqueue)
        for seed in range(REPLAYS):
            copier.check(seed, graph.launch)
        graph.free()
        # The stream stays usable.
        copier.check(1, copier.enqueue)

    thread.call(work)
    return {"replays": REPLAYS}


def check_memory(device: int) -> dict[str, Any]:
    """Check that freeing many CUDA buffers returns the GPU memory."""
    thread = cuda_thread(device)

    def work() -> tuple[int, int, int]:
        gc.collect()
        before = thread.driver.mem_get_info()[0]
        buffers = [Buffer(thread.driver) for _ in range(BUFFERS)]
        for buffer in buffers:
            buffer.reserve(SIZE)
        held = thread.driver.mem_get_info()[0]
        del buffer
        buffers.clear()
        return before, held, thread.driver.mem_get_info()[0]

    before, held, after = thread.call(work)
    assert before - held >= BUFFERS * SIZE, f"{BUFFERS} buffers took {before - held} bytes"
    assert before - after <= KEPT_LIMIT, f"{before - after} bytes were not returned"
    return {"buffers": BUFFERS, "taken": before - held, "kept": before - after}


def check_threads(device: int) -> dict[str, Any]:
    """Check that several threads can use the GPU at a time through its one CUDA thread."""
    thread = cuda_thread(device)
    copiers = [thread.call(lambda: _Copier(thread)) for _ in range(THREADS)]

    def work(number: int) -> None:
        copier = copiers[number]
        for seed in range(20):
            thread.call(lambda seed=seed: copier.check(100 * number + seed, copier.enqueue))

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
    finally:
        # Objects on the GPU are freed in its thread.
        thread.call(copiers.clear)
    return {"threads": THREADS}
