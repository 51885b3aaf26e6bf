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


@pytest.mark.parametrize("number", [1, 7])
def test_a_number_that_does_not_exist_says_how_many_there_are(gpu, number):
    with pytest.raises(BackendError, match=f"device {number} does not exist: this machine has 1"):
        find_gpu(number)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (34, "is a stub"),
        (46, "another process may hold it"),
        (100, "no CUDA-capable device"),
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
