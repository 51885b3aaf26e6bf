# SPDX-License-Identifier: Apache-2.0
"""The driver's information about GPUs, and the messages if there is none."""

import pytest

from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference import gpus
from mask_detector_ros.inference.gpus import Gpu, driver_cuda_version, find_gpu


def test_a_gpu_is_told_by_number_name_and_capability(gpu):
    gpu.set(gpus=2, gpu="NVIDIA H100", capability=[9, 0])
    found = find_gpu(1)
    assert found == Gpu(1, "NVIDIA H100", "9.0")
    assert found.version == (9, 0)
    assert driver_cuda_version() == (13, 0)


def test_without_a_driver_the_container_is_named_too(monkeypatch):
    def no_library(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpus.ctypes, "CDLL", no_library)
    text = r"no NVIDIA driver .*libcuda.so.1.*--gpus all.*onnxruntime"
    with pytest.raises(BackendError, match=text):
        find_gpu(0)


@pytest.mark.parametrize("number", [1, 7, -1])
def test_a_number_that_does_not_exist_says_how_many_there_are(gpu, number, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    text = f"device {number} does not exist: the driver shows 1 CUDA device, .* another device$"
    with pytest.raises(BackendError, match=text):
        find_gpu(number)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with pytest.raises(BackendError, match=r"or check CUDA_VISIBLE_DEVICES$"):
        find_gpu(number)


@pytest.mark.parametrize("gpus", [None, 0])
def test_a_driver_without_a_device_says_so_and_what_may_hide_it(gpu, gpus, monkeypatch):
    gpu.set(gpus=gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(BackendError, match=r"no CUDA device was found: the NVIDIA driver is inst"):
        find_gpu(0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(BackendError, match=r"no CUDA device .*CUDA_VISIBLE_DEVICES is '', which"):
        find_gpu(0)


def test_a_library_that_is_no_driver_is_an_error(monkeypatch):
    # As of some containers, whose libcuda.so.1 is another file.
    monkeypatch.setattr(gpus, "load_libcuda", object)
    with pytest.raises(BackendError, match=r"not the library of an NVIDIA driver \(cuInit is miss"):
        find_gpu(0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (34, "is a stub"),
        (46, "another process may hold it"),
        (803, "driver and its library have different versions"),
        (999, "look for Xid"),
        (712, "error 712"),
    ],
)
def test_each_failure_of_the_driver_has_its_reason(gpu, monkeypatch, code, reason):
    from pycuda.driver import FakeDriver

    monkeypatch.setattr(FakeDriver, "cuInit", lambda self, flags: code)
    with pytest.raises(
        BackendError, match=rf"CUDA does not start \(cuInit: .*{reason}.*nvidia-smi"
    ):
        find_gpu(0)
