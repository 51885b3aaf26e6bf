# SPDX-License-Identifier: Apache-2.0
"""make gpu-check runs to the end on a simulated GPU, and detects its faults."""

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import pytest
from driver_stub import build_driver
from gpu_stand_in import build_here

pytest.importorskip("skimage", reason="the sample scene is not installed")

from benchmark import gpu_check, gpu_faults, gpu_networks, gpu_variants, gpu_wrapper
from convert_to_trt import cascade_settings
from mask_detector_ros import models
from mask_detector_ros.inference import EngineOptions, onnxruntime_cuda
from mask_detector_ros.inference.tensorrt import cuda, session
from mask_detector_ros.sources.sample_scene import SampleScene
from mask_detector_ros.speed import throughput

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """A fixed copy of the models: on a busy machine a run takes many minutes and reads them
    repeatedly, and a checkout may change meanwhile."""
    copy = shutil.copytree(models.models_directory(), tmp_path / "models")
    monkeypatch.setattr(models, "models_directory", lambda: copy)
    monkeypatch.setattr(models, "read_manifest", cache(models.read_manifest.__wrapped__))


@pytest.fixture
def quick(monkeypatch):
    """Check few batch sizes, and no whole cascade: on a CPU it takes a minute;
    test_two_stage_graph.py and test_three_stage_graph.py run small ones."""
    monkeypatch.setattr(gpu_networks, "BATCHES", (1, 3, 8))
    for name in ("BUFFERS", "REPLAYS"):
        monkeypatch.setattr(gpu_wrapper, name, 10)
    monkeypatch.setattr(throughput, "SCENES", 2)

    def no_cascade(path, parameters, half):
        path.write_bytes(b"")

    monkeypatch.setattr(gpu_check, "write_cascade", no_cascade)
    monkeypatch.setattr(session, "build_in_process", build_here)


def two_on_the_cpu(rounds, parameters, check=gpu_faults.check_two_processes):
    """The simulated GPU is in this process only."""
    return check(rounds, {**parameters, "backend": "onnxruntime", "threads": 1})


def full_of(fault, gpu):
    """A stand-in of `gpu_faults.full_memory`: the networks fail as in full memory."""
    import fake_gpu

    @contextmanager
    def full_memory(device):
        before = fake_gpu.settings()
        gpu.set(**{**before, "run_fault": fault})
        yield 1 << 30
        gpu.set(**before)

    return full_memory


@pytest.fixture
def run(own_models, quick, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_faults, "check_two_processes", two_on_the_cpu)

    def run(simulated, *options):
        from pycuda.driver import FakeLibcuda

        library = FakeLibcuda()
        monkeypatch.setattr(cuda, "load_libcuda", lambda: library)
        monkeypatch.setattr(gpu_faults, "full_memory", full_of("memory", simulated))
        monkeypatch.setattr(gpu_faults, "LARGE_FRAMES", [(352, 288)])
        report = tmp_path / "report.json"
        common = ["--rounds", "1", "--seconds", "1000"]
        code = gpu_check.main([*common, *options, "--out", str(report)])
        result = json.loads(report.read_text())
        assert json.loads(capsys.readouterr().out) == result
        # Whole cascades, which are empty files here.
        broken = {name for name in result["failed"] if name.endswith("in one graph")}
        return code, set(result["failed"]) - broken, {c["check"]: c for c in result["checks"]}

    return run


def test_without_a_gpu_it_says_what_is_missing(capsys):
    assert gpu_check.main([]) == 1
    assert capsys.readouterr().err.startswith("error: no NVIDIA driver was found")


def test_a_driver_without_a_device_is_one_line(tmp_path):
    environment = {**build_driver(tmp_path), "STUB_CUINIT": "100", "CUDA_VISIBLE_DEVICES": "-1"}
    line = [sys.executable, "-m", "benchmark.gpu_check"]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, "")
    assert done.stderr.startswith("error: no CUDA device was found: CUDA_VISIBLE_DEVICES is '-1'")


def test_a_gpu_that_no_backend_serves_is_a_failure(bare_gpu, run):
    bare_gpu.install("rtx-1.7.1")
    bare_gpu.set(capability=[9, 0])
    bare_gpu.remove_provider()
    code, failed, checks = run(bare_gpu)
    assert (code, failed) == (1, {"backends"})
    assert checks["cuda"]["left_out"] == "ONNX Runtime CUDA is not installed"
    assert "no backend works on Orin, for the reasons above" in checks["backends"]["error"]


def test_variants_do_not_begin_where_cuda_does_not_work(bare_gpu, capsys):
    bare_gpu.install_cuda()
    bare_gpu.set(runtime_fault=35)
    assert gpu_variants.main([]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: CUDA does not start (cudaGetDeviceCount: CUDA error 35); check")


def test_tensorrt_runs_through_and_cuda_is_left_out_with_the_reason(gpu, run, monkeypatch):
    # On the CPU they are the same for CUDA, whose test starts them.
    monkeypatch.setattr(gpu_faults, "check_two_processes", lambda rounds, parameters: {})
    _, failed, checks = run(gpu)
    assert failed == set()
    one, many, none, *_ = checks["tensorrt fp32: faces, step by step"]["result"]["faces"]
    assert one >= 1
    assert many > one
    assert none == 0
    assert "is damaged" in checks["tensorrt: spoilt engines"]["result"]["one byte changed"]
    times = checks["tensorrt fp32: one camera, step by step"]["result"]
    assert times["on"] == "Orin (TensorRT 10.3.0, fp32)"
    assert {"p50_ms", "p99_ms", "host_ms", "calls_per_s"} <= set(times)
    assert checks["cuda"]["left_out"] == "ONNX Runtime CUDA is not installed"


def test_cuda_runs_through_and_tensorrt_is_left_out_with_the_reason(bare_gpu, run):
    bare_gpu.install("rtx-1.7.1")
    bare_gpu.install_cuda()
    bare_gpu.set(capability=[9, 0])
    _, failed, checks = run(bare_gpu)
    assert failed == set()
    reason = "TensorRT-RTX 1.7.1 does not support compute capability 9.0"
    assert checks["tensorrt"]["left_out"] == reason
    cameras = checks["cuda: eight cameras, step by step"]["result"]
    assert len(cameras["frames_by_camera"]) == 8
    assert checks["cuda: decision"]["result"]["largest_difference"] == 0
    full = checks["cuda: full memory"]["result"]
    assert "Failed to allocate memory" in full["explicit"]
    assert full["auto_served_by"] == "onnxruntime"
    assert "device 7 does not exist" in checks["cuda: missing device"]["result"]["error"]
    assert len(checks["cuda: two processes"]["result"]["processes"]) == 2
    assert checks["auto"]["result"]["reason"] == f"{reason}; using ONNX Runtime CUDA on Orin"


def test_the_wrapper_is_checked_by_content(gpu, quick, monkeypatch):
    from pycuda.driver import FakeLibcuda

    library = FakeLibcuda()
    monkeypatch.setattr(cuda, "load_libcuda", lambda: library)
    assert gpu_wrapper.check_graph(0) == {"replays": 10}
    assert library.launched == 10
    assert library.live == 0
    # A graph that does nothing is found out.
    monkeypatch.setattr(FakeLibcuda, "cuGraphLaunch", lambda *arguments: 0)
    with pytest.raises(AssertionError, match="bytes of round 0 differ"):
        gpu_wrapper.check_graph(0)


def test_memory_that_does_not_come_back_is_found(gpu, quick, monkeypatch):
    assert gpu_wrapper.check_memory(0)["kept"] == 0
    monkeypatch.setattr(gpu_wrapper, "KEPT_LIMIT", -1)
    with pytest.raises(AssertionError, match="were not returned"):
        gpu_wrapper.check_memory(0)


@pytest.mark.parametrize("backend", ["tensorrt", "cuda"])
def test_a_gpu_that_computes_something_else_fails(gpu, tmp_path, backend):
    gpu.install_cuda()
    gpu.set(run_fault="wrong")
    options = EngineOptions("fp32", str(tmp_path))
    checks = gpu_check.Checks()
    model = gpu_networks.networks("mtcnn_masked")["rnet"]
    checks.run("rnet", gpu_networks.check_network, model, "rnet", backend, options)
    assert checks.failed == ["rnet"]
    assert "differs from the CPU" in checks.results[0]["error"]


def test_when_the_time_is_over_no_check_begins():
    checks = gpu_check.Checks(seconds=-1)
    checks.run("late", lambda: 1 / 0)
    assert checks.failed == []
    assert checks.results[0]["left_out"] == "out of time"


def test_each_result_is_written_at_once(tmp_path):
    seen = []
    checks = gpu_check.Checks(record=lambda: seen.append(len(checks.results)))
    checks.run("one", dict)
    checks.run("two", lambda: 1 / 0)
    assert seen == [1, 2]


class FullGpu:
    """The driver's functions that allocate, with 3 GiB and 300 KiB free."""

    def __init__(self):
        self.free = (3 << 30) + (300 << 10)

    def cuMemAlloc_v2(self, address, size):  # noqa: N802
        if size.value > self.free:
            return 2
        self.free -= size.value
        return 0

    def __getattr__(self, name):
        return lambda *arguments: 0


def test_the_memory_is_filled_to_the_last_chunk():
    driver = FullGpu()
    assert gpu_faults.fill(driver, 0) == (3 << 30) + (256 << 10)
    assert driver.free == 44 << 10


def test_the_process_that_fills_the_memory_says_why_it_ended(monkeypatch):
    # There is no GPU here.
    with (
        pytest.raises(AssertionError, match="ended with 1"),
        gpu_faults.full_memory(0),
    ):
        pass


def test_a_device_that_is_accepted_is_a_failure(monkeypatch):
    monkeypatch.setattr(gpu_faults.MaskDetector, "load", lambda **parameters: None)
    with pytest.raises(AssertionError, match="device 7 was accepted"):
        gpu_faults.check_missing_device({})


def test_variants_time_each_part_of_a_frame(bare_gpu, own_models, tmp_path, monkeypatch, capsys):
    bare_gpu.install_cuda()
    few = dict(list(gpu_variants.VARIANTS.items())[:2])
    monkeypatch.setattr(gpu_variants, "VARIANTS", few)
    monkeypatch.setattr(throughput, "SCENES", 2)
    # A quarter of the pixels, for frames and graph alike, and few slots.
    monkeypatch.setattr(cascade_settings, "TWO_STAGE_SLOTS", 8)
    small = partial(cascade_settings.GraphSettings, 320, 240)
    monkeypatch.setattr(cascade_settings, "GraphSettings", lambda *_, **rest: small(**rest))
    monkeypatch.setattr(throughput, "SampleScene", lambda *_: SampleScene(320, 240))
    out = tmp_path / "variants.json"
    code = gpu_variants.main(["--rounds", "2", "--seconds", "1000", "--out", str(out)])
    report = json.loads(out.read_text())
    assert (code, report["failed"]) == (0, [])
    assert json.loads(capsys.readouterr().out) == report
    results = {each["check"]: each["result"] for each in report["variants"]}
    assert set(results) == {*few, "detector", "two at a time", "three at a time"}
    shipped = results["as shipped"]
    assert shipped["frames in turn: run"][0] > 0
    assert max(shipped["differences"].values()) == 0
    assert onnxruntime_cuda.PROVIDER_OPTIONS["use_tf32"] == "0"
