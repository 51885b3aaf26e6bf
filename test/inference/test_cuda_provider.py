# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's CUDA provider where it cannot run: the reason, and the remedy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference import cuda_provider
from mask_detector_ros.inference.cuda_provider import check_provider


@pytest.fixture
def installed(bare_gpu, monkeypatch):
    """A provider whose library is really loaded, and a driver for CUDA 13."""
    load = cuda_provider._load
    bare_gpu.install_cuda()
    monkeypatch.setattr(cuda_provider, "_load", load)
    monkeypatch.setattr(cuda_provider, "_built_for", lambda: (13, 0))
    return bare_gpu


def missing(monkeypatch, *names):
    """Loading fails because these libraries are missing, one after the other."""
    left = list(names)

    def load(library, mode=0):
        if left:
            raise OSError(f"{left[0]}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(cuda_provider.ctypes, "CDLL", load)
    return left


def test_an_onnxruntime_without_cuda_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setattr(cuda_provider, "provider_library", lambda: None)
    with pytest.raises(BackendError, match=r"cuda is not installed; do: pip uninstall -y onnx"):
        check_provider()


def test_the_package_for_the_cpu_over_the_one_for_cuda_is_recognised(installed, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match="onnxruntime for the CPU was installed over onnxr"):
        check_provider()


def test_a_driver_too_old_is_told_with_both_versions(installed):
    installed.set(driver=12040)
    with pytest.raises(BackendError, match=r"driver supports CUDA 12.4.* built for CUDA 13.0"):
        check_provider()


@pytest.mark.parametrize(
    ("library", "what"),
    [
        ("libcublasLt.so.13", r"libcublasLt.so.13 of CUDA is missing"),
        ("libcudnn.so.9", r"libcudnn.so.9 of cuDNN is missing"),
        ("libcuda.so.1", r"libcuda.so.1 is missing: install the driver"),
    ],
)
def test_each_library_that_is_missing_is_named(installed, monkeypatch, library, what):
    missing(monkeypatch, library)
    monkeypatch.setattr(cuda_provider, "_wheels_with", lambda name: iter(()))
    with pytest.raises(BackendError, match=what):
        check_provider()


@pytest.mark.parametrize("cudnn", [(), ("libcudnn.so.9",)], ids=["torch has loaded cuDNN", ""])
def test_libraries_that_pip_put_beside_us_are_found(cudnn, installed, monkeypatch, tmp_path):
    loaded = []
    monkeypatch.setattr(cuda_provider, "_is_loaded", lambda name: not cudnn)
    absent = {"libcublasLt.so.13", "libcurand.so.10"}

    def load(library, mode=0):
        name = Path(library).name
        loaded.append(name)
        absent.discard(name)
        if name == "stand_in" and absent:
            raise OSError(f"{min(absent)}: cannot open shared object file")

    monkeypatch.setattr(cuda_provider.ctypes, "CDLL", load)
    monkeypatch.setattr(cuda_provider, "_wheels_with", lambda name: iter([tmp_path / name]))
    check_provider()
    names = ("libcublasLt.so.13", "stand_in", "libcurand.so.10", "stand_in", *cudnn)
    assert loaded == ["stand_in", *names]


def test_a_library_that_does_not_load_is_told_as_the_loader_tells_it(installed, monkeypatch):
    def load(library, mode=0):
        raise OSError("version `GLIBC_2.38' not found")

    monkeypatch.setattr(cuda_provider.ctypes, "CDLL", load)
    with pytest.raises(BackendError, match=r"cannot be loaded \(version `GLIBC_2.38' not found"):
        check_provider()


REAL = """
import sys
sys.path.insert(0, {root!r})
from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference import EngineOptions, create_session
from mask_detector_ros.models import find_detector
try:
    create_session(find_detector("mtcnn")["rnet"], "rnet", "cuda", 1)
except BackendError as error:
    print(error)
"""


def test_the_real_provider_says_in_our_words_that_there_is_no_gpu():
    """MASK_DETECTOR_ORT_GPU names a Python that has onnxruntime-gpu."""
    python = os.environ.get("MASK_DETECTOR_ORT_GPU")
    if not python:
        pytest.skip("MASK_DETECTOR_ORT_GPU names no Python with onnxruntime-gpu")
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU: make gpu-check")
    code = REAL.format(root=str(Path(__file__).parents[2]))
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    words = ("no NVIDIA driver was found", "CUDA does not start (cuInit: no CUDA")
    assert done.stdout.startswith(words), done.stderr
    assert sys.executable != python
