# SPDX-License-Identifier: Apache-2.0
"""Pinned memory on a simulated GPU: allocated by the driver, freed in the GPU's thread."""

import _thread
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from waiting import wait_until

from mask_detector_ros.inference.pinned_memory import pinned_zeros


@pytest.fixture
def pinned(gpu):
    from pycuda import driver

    driver.pinned.clear()
    return driver.pinned


def test_it_lives_as_long_as_a_view_of_it(pinned, monkeypatch):
    from pycuda.driver import FakeDriver

    threads, free = [], FakeDriver.cuMemFreeHost

    def note(driver, address):
        threads.append(threading.current_thread().name)
        return free(driver, address)

    monkeypatch.setattr(FakeDriver, "cuMemFreeHost", note)
    with ThreadPoolExecutor(1, thread_name_prefix="gpu") as thread:
        array = pinned_zeros((2, 3), np.float32, thread)
        assert array.shape == (2, 3)
        assert not array.any()
        view = array[1:]
        del array
        assert len(pinned) == 1
        view[...] = 7
        assert (view == 7).all()
        # As if garbage collection came inside `submit`.
        with thread._shutdown_lock:
            del view
        wait_until(lambda: pinned == {}, what="freed memory")
    assert threads == ["gpu_0"]


def test_without_it_ordinary_memory_serves(gpu, pinned):
    gpu.set(pinned_fault=True)
    with ThreadPoolExecutor(1) as thread:
        array = pinned_zeros((4,), np.uint8, thread)
    assert not array.any()
    assert pinned == {}


class EndedThread:
    """An executor that was shut down, as at the end of a process."""

    def __init__(self):
        self.asked = threading.Event()

    def submit(self, *_):
        self.asked.set()
        raise RuntimeError("cannot schedule new futures after shutdown")


def test_memory_that_outlives_the_thread_of_the_gpu_is_left_to_the_driver(pinned, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    thread, before = EndedThread(), _thread._count()
    array = pinned_zeros((4,), np.uint8, thread)
    del array
    assert thread.asked.wait(10)
    wait_until(lambda: _thread._count() <= before, what="the end of the thread that frees")
    assert told == []
