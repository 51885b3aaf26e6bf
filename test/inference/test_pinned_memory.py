# SPDX-License-Identifier: Apache-2.0
"""Pinned memory on a simulated GPU: allocated by the driver, freed in the GPU's thread."""

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
