# SPDX-License-Identifier: Apache-2.0
"""The GPU that `auto` switches to: a table of GPUs and libraries, with the message for each
choice."""

import re

import pytest

from mask_detector_ros.cli import main
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference import cuda_provider, gpu_choice
from mask_detector_ros.inference.gpu_choice import find_serving_gpu, load_on_gpu, obstacle
from mask_detector_ros.inference.gpus import Gpu

NOT_INSTALLED = "TensorRT is not installed"
NO_CUDA = "ONNX Runtime CUDA is not installed"


def not_served(library, capability):
    return f"{library} does not support compute capability {capability}"


CASES = [
    # GPU, TensorRT, with CUDA?, what serves, and the first reason
    ("Nano", [5, 3], "8.2.1", False, "tensorrt", ""),
    ("V100", [7, 0], "10.3.0", False, "tensorrt", ""),
    ("V100", [7, 0], "10.13.3", True, "cuda", not_served("TensorRT 10.13.3", "7.0")),
    ("GTX 1080", [6, 1], "10.3.0", True, "cuda", not_served("TensorRT 10.3.0", "6.1")),
    ("T4", [7, 5], "11.4.0", True, "tensorrt", ""),
    ("RTX 4090", [8, 9], "rtx-1.7.1", True, "tensorrt", ""),
    ("Orin", [8, 7], "10.3.0", True, "tensorrt", ""),
    ("Orin", [8, 7], "rtx-1.7.1", True, "cuda", not_served("TensorRT-RTX 1.7.1", "8.7")),
    ("H100", [9, 0], "rtx-1.7.1", True, "cuda", not_served("TensorRT-RTX 1.7.1", "9.0")),
    ("H100", [9, 0], "rtx-1.7.1", False, "", not_served("TensorRT-RTX 1.7.1", "9.0")),
    ("H100", [9, 0], "10.13.3", True, "tensorrt", ""),
    ("H100", [9, 0], None, True, "cuda", NOT_INSTALLED),
    ("RTX 5090", [12, 0], "rtx-1.7.1", True, "tensorrt", ""),
]


@pytest.mark.parametrize(("name", "capability", "tensorrt", "has_cuda", "served", "reason"), CASES)
def test_the_table(bare_gpu, name, capability, tensorrt, has_cuda, served, reason):
    if tensorrt:
        bare_gpu.install(tensorrt)
    if has_cuda:
        bare_gpu.install_cuda()
    bare_gpu.set(gpu=name, capability=capability)
    gpu, why_not = find_serving_gpu(0)
    assert (gpu.name, why_not) == (name, "")
    if served:
        library = gpu_choice.LIBRARIES[served]
        expected = "; ".join(filter(None, [reason, f"using {library} on {name}"]))
        assert load_on_gpu(gpu, lambda backend: backend) == (served, expected)
    else:
        with pytest.raises(BackendError, match=f"{reason}; {NO_CUDA}"):
            load_on_gpu(gpu, lambda backend: backend)


def test_a_gpu_without_libraries_stays_idle_and_the_log_says_what_to_install(bare_gpu):
    bare_gpu.install_cuda()
    bare_gpu.remove_provider()
    gpu, reason = find_serving_gpu(0)
    assert gpu is None
    assert reason.startswith("Orin was found, but TensorRT and ONNX Runtime CUDA are not installed")
    assert "onnxruntime-gpu[cuda,cudnn]" in reason


def test_without_libraries_and_without_a_gpu_the_reason_is_short(bare_gpu):
    bare_gpu.remove_driver()
    assert find_serving_gpu(0) == (None, "no NVIDIA GPU was found")


def test_where_loading_fails_the_next_backend_is_taken_and_both_reasons_stay(gpu):
    gpu.install_cuda()

    def load(backend):
        if backend == "tensorrt":
            raise BackendError("TensorRT cannot build pnet")
        return backend

    expected = "TensorRT cannot build pnet; using ONNX Runtime CUDA on Orin"
    assert load_on_gpu(Gpu(0, "Orin", "8.7"), load) == ("cuda", expected)


def test_a_broken_tensorrt_is_an_obstacle_not_a_crash(gpu, tmp_path):
    for file in tmp_path.rglob("tensorrt.py"):
        file.write_text("raise ImportError('libnvinfer.so.10 is missing')")
    reason = obstacle("tensorrt", Gpu(0, "Orin", "8.7"))
    assert "tensorrt is installed but cannot be imported (libnvinfer.so.10 is missing)" in reason


@pytest.fixture
def h100(bare_gpu):
    bare_gpu.install("rtx-1.7.1")
    bare_gpu.install_cuda()
    bare_gpu.set(gpu="H100", capability=[9, 0])
    return bare_gpu


def test_auto_goes_over_to_cuda_and_log_and_detector_name_the_reason(h100, astronaut, caplog):
    caplog.set_level("INFO")
    detector = MaskDetector.load(threads=1)
    assert detector.backend_reason == "serving until H100 is ready"
    expected = detector(astronaut)
    detector.wait_for_engines()
    assert detector(astronaut).labels == expected.labels
    reason = f"{not_served('TensorRT-RTX 1.7.1', '9.0')}; using ONNX Runtime CUDA on H100"
    assert (detector.backend, detector.engine_state) == ("cuda", "ready")
    assert detector.backend_reason == reason
    assert reason in caplog.text


def test_a_gpu_lost_in_mid_stream_costs_no_frame_under_auto(h100, astronaut):
    detector = MaskDetector.load(threads=1)
    detector.wait_for_engines()
    assert len(detector(astronaut)) == 1
    h100.set(gpu="H100", capability=[9, 0], run_fault="lost")
    assert len(detector(astronaut)) == 1
    assert detector.backend == "onnxruntime"
    assert "Xid" in detector.backend_reason


def test_an_explicit_cuda_that_is_lost_is_an_error(h100, astronaut):
    detector = MaskDetector.load(threads=1, backend="cuda")
    assert detector.backend_reason == "chosen by the parameter backend"
    h100.set(gpu="H100", capability=[9, 0], run_fault="lost")
    with pytest.raises(BackendError, match=r"failed on H100 .*CUDA failure 719.*Xid"):
        detector(astronaut)
    assert detector.backend == "cuda"


def test_an_explicit_tensorrt_on_a_gpu_that_it_does_not_serve_is_an_error(h100):
    text = r"RTX 1.7.1 does not support compute capability 9.0; use backend:=cuda or backend:=onnx"
    with pytest.raises(BackendError, match=text):
        MaskDetector.load(threads=1, backend="tensorrt")


BAD_INPUT = {
    "no driver": (None, 0, "no NVIDIA driver was found"),
    "no device": ({"gpus": None}, 0, "no CUDA device was found"),
    "another number": ({}, 1, "device 1 does not exist"),
    "old driver": ({"driver": 12040}, 0, "the driver supports CUDA 12.4, but the installed onnxr"),
    "the runtime rejects the driver": ({"runtime_fault": 35}, 0, "CUDA does not start (cudaGet"),
    "a provider that is not used": ({"provider": False}, 0, "onnxruntime for the CPU was instal"),
}
"""Settings of the simulated GPU (None: without a driver), device, and the start of the message."""


@pytest.fixture(params=BAD_INPUT)
def bad(request, bare_gpu, monkeypatch):
    settings, device, start = BAD_INPUT[request.param]
    bare_gpu.install_cuda()
    monkeypatch.setattr(cuda_provider, "_built_for", lambda: (13, 0))
    if settings is None:
        bare_gpu.remove_driver()
    elif "provider" in settings:
        monkeypatch.setattr("onnxruntime.get_available_providers", list)
    else:
        bare_gpu.set(**settings)
    return device, start


def test_an_explicit_cuda_fails_in_one_line_before_a_model_is_read(bad):
    device, start = bad
    with pytest.raises(BackendError, match=f"^{re.escape(start)}") as error:
        MaskDetector.load(backend="cuda", device=device, detector_model="no such file")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", ["image", "serve", "benchmark"])
def test_a_command_with_an_explicit_cuda_fails_in_one_line(
    bad, command, astronaut_file, tmp_path, capsys, monkeypatch
):
    device, start = bad
    given = {"image": [str(astronaut_file), "-o", str(tmp_path)], "benchmark": []}
    options = ["--backend", "cuda", "--device", str(device)]
    if command == "benchmark":
        if device:
            pytest.skip("it always takes the first GPU")
        options = ["--backends", "cuda"]
    monkeypatch.setattr("mask_detector_ros.serving.triton_environment.find_triton", lambda: None)
    assert main([command, *given.get(command, []), *options]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {start}")


def test_auto_goes_on_with_the_cpu_and_log_and_detector_name_the_reason(bad, caplog, astronaut):
    device, start = bad
    caplog.set_level("INFO")
    detector = MaskDetector.load(device=device, threads=1)
    detector.wait_for_engines()
    assert len(detector(astronaut)) == 1
    assert detector.backend == "onnxruntime"
    assert detector.backend_reason.startswith("staying on the CPU: ")
    assert start in detector.backend_reason
    assert detector.backend_reason in caplog.text
