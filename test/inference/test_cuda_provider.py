# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's CUDA provider where it cannot run: the reason, and the remedy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from driver_stub import build_driver

from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference import CPU_BACKENDS, cuda_provider
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


@pytest.mark.parametrize(
    ("driver", "remedy"),
    [
        (12040, r'update the driver, or do: .*"onnxruntime-gpu\[cuda,cudnn\]==1.26.\*"$'),
        (11040, r"update the driver, or use backend:=onnxruntime$"),
    ],
)
def test_a_driver_too_old_is_told_with_both_versions_and_the_release_for_it(
    installed, driver, remedy
):
    installed.set(driver=driver)
    version = f"{driver // 1000}.4"
    with pytest.raises(BackendError, match=rf"supports CUDA {version}, .* CUDA 13.0; {remedy}"):
        check_provider()


def test_the_answer_of_the_cuda_runtime_is_told(bare_gpu):
    # ONNX Runtime makes "Parse Failed" of it when it loads the first network.
    bare_gpu.install_cuda()
    check_provider()
    bare_gpu.set(runtime_fault=36)
    text = r"CUDA does not start \(cudaGetDeviceCount: CUDA error 36\); check with nvidia-smi"
    with pytest.raises(BackendError, match=text):
        check_provider()


def test_an_onnxruntime_that_cannot_be_imported_is_told(installed, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"onnxruntime-gpu cannot be imported \(.*; do: pip un"):
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


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("version `GLIBC_2.38' not found", r"cannot be loaded \(version `GLIBC_2.38' not found"),
        ("x.so: undefined symbol: cuTensorMapEncodeTiled", "driver is too old for the installed"),
    ],
)
def test_a_library_that_does_not_load_is_told_with_its_cause(installed, monkeypatch, told, text):
    def load(library, mode=0):
        raise OSError(told)

    monkeypatch.setattr(cuda_provider.ctypes, "CDLL", load)
    with pytest.raises(BackendError, match=text):
        check_provider()


REAL = """
import json, sys
sys.path.insert(0, {root!r})
from mask_detector_ros import MaskDetector
from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference import cuda_provider
wheels = cuda_provider._wheels_with
cuda_provider._wheels_with = lambda name: iter(()) if {hidden!r} in name else wheels(name)
try:
    MaskDetector.load(backend="cuda", device={device}, detector_model="no such file")
except BackendError as error:
    explicit = str(error)
detector = MaskDetector.load(device={device}, threads=1)
detector.wait_for_engines()
print(json.dumps([explicit, detector.backend, detector.backend_reason]))
"""

HIDDEN, NONE = {"CUDA_VISIBLE_DEVICES": ""}, "no CUDA device was found: "

REAL_CASES = {
    "no driver": (None, {}, "no NVIDIA driver was found (libcuda.so.1: cannot open shared"),
    "no device": ((), {"STUB_CUINIT": "100"}, NONE + "the NVIDIA driver is installed but shows"),
    "hidden": ((), {"STUB_CUINIT": "100", **HIDDEN}, NONE + "CUDA_VISIBLE_DEVICES is '', which"),
    "another device": ((), {"device": "3"}, "device 3 does not exist: the driver shows 1 CUDA dev"),
    "old driver": ((), {"STUB_VERSION": "11080"}, "the driver supports CUDA 11.8, but the install"),
    "older functions": (("-DOLD",), {}, "the driver is too old for the installed onnxruntime-gpu"),
    "no cuDNN": ((), {"hidden": "cudnn"}, "libcudnn.so.9 of cuDNN is missing, which the install"),
    "no CUDA": ((), {"hidden": "cublas"}, "libcublasLt.so.1"),
    "driver cannot serve": ((), {}, "CUDA does not start (cudaGetDeviceCount: API call is not s"),
}
"""Options of the driver's stub (None: no driver), its answers or what is hidden from `REAL`, and
the start of the message."""


@pytest.mark.parametrize("case", REAL_CASES)
def test_the_real_provider_says_in_our_words_why_it_does_not_work(case, tmp_path):
    """It needs onnxruntime-gpu[cuda,cudnn] here, or in the Python of MASK_DETECTOR_ORT_GPU."""
    here = sys.executable if cuda_provider.provider_library() else ""
    python = os.environ.get("MASK_DETECTOR_ORT_GPU", here)
    if not python:
        pytest.skip("onnxruntime-gpu is not installed, and MASK_DETECTOR_ORT_GPU names no Python")
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU: make gpu-check")
    options, settings, start = REAL_CASES[case]
    environment = dict(os.environ) if options is None else build_driver(tmp_path, *options)
    given = {name: settings.get(name, otherwise) for name, otherwise in DEFAULTS.items()}
    code = REAL.format(root=str(Path(__file__).parents[2]), **given)
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    environment |= {name: value for name, value in settings.items() if name not in given}
    line = [python, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
    explicit, backend, reason = json.loads(done.stdout)
    assert explicit.startswith(start)
    # ONNX Runtime itself prints nothing.
    assert "[E:onnxruntime" not in done.stderr
    assert backend in CPU_BACKENDS
    assert reason.startswith("staying on the CPU: ")
    assert reason.endswith(explicit)


DEFAULTS = {"device": "0", "hidden": "-"}
