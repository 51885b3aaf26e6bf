# SPDX-License-Identifier: Apache-2.0
"""The TensorRT backend on a simulated GPU: buffers, batches, graphs, threads, faults."""

import gc
import json
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import onnx
import pytest
from gpu_stand_in import build_here, network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from mask_detector_ros.errors import BackendError, ImageError, ModelError
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.options import EngineOptions
from mask_detector_ros.inference.session import TensorInfo
from mask_detector_ros.inference.tensorrt import cuda, session
from mask_detector_ros.models import find_classifier, find_detector

METADATA = {"color": "BGR", "labels": '["a", "b"]'}


@pytest.fixture
def builder_process():
    """Build in a separate process, as for users."""


@pytest.fixture(autouse=True)
def _quick_builds(request, monkeypatch):
    if "builder_process" not in request.fixturenames:
        monkeypatch.setattr(session, "build_in_process", build_here)


@pytest.fixture
def options(tmp_path):
    return EngineOptions(precision="fp32", engine_cache_dir=str(tmp_path / "engines"))


def open_session(options, model=None):
    return create_session(model or network(metadata=METADATA), "scale", "tensorrt", 1, options)


def values(batch, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (batch, 3)).astype(np.float32)


def expected(x):
    return x * np.float32(0.25 / 255) + np.arange(3, dtype=np.float32)


@pytest.fixture
def graphs(gpu, monkeypatch):
    """The stand-in of the driver's graphs."""
    from pycuda.driver import FakeLibcuda

    library = FakeLibcuda()
    monkeypatch.setattr(cuda, "load_libcuda", lambda: library)
    return library


def test_a_session_says_what_the_file_says_and_where_it_runs(any_gpu, options):
    session = open_session(options)
    assert (session.name, session.backend) == ("scale", "tensorrt")
    assert session.inputs == (TensorInfo("x", np.dtype(np.float32), (-1, 3)),)
    assert [tensor.name for tensor in session.outputs] == ["y", "scaled"]
    assert session.metadata == METADATA
    number = any_gpu.version.removeprefix("rtx-")
    assert session.device.startswith("Orin (TensorRT")
    assert session.device.endswith(f"{number}, fp32)")


def test_one_many_none_many_faces_are_what_fresh_sessions_find(any_gpu, options):
    # MTCNN on TensorRT 7 lost its faces after a frame with one of them.
    session = open_session(options)
    for step, batch in enumerate((1, 40, 0, 128, 1, 0, 0, 3, 17)):
        x = values(batch, step)
        np.testing.assert_allclose(session.run(x=x)["y"], expected(x), rtol=1e-6)


@given(batches=st.lists(st.integers(0, 128), min_size=1, max_size=8))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=8,
)
def test_any_sequence_of_batches_is_right(gpu, options, graphs, batches):
    session = open_session(options)
    for step, batch in enumerate(batches):
        x = values(batch, step)
        np.testing.assert_allclose(session.run(x=x)["y"], expected(x), rtol=1e-6)


def test_results_are_the_callers_to_keep(gpu, options):
    session = open_session(options)
    first = session.run(x=values(4, 1))["y"]
    kept = first.copy()
    session.run(x=values(4, 2))
    np.testing.assert_array_equal(first, kept)


def test_batches_are_filled_up_so_that_few_graphs_are_recorded_and_then_replayed(options, graphs):
    session = open_session(options)
    launched, live = graphs.launched, graphs.live
    for step, batch in enumerate((5, 6, 7, 8, 5, 8, 6)):
        x = values(batch, step)
        np.testing.assert_allclose(session.run(x=x)["y"], expected(x), rtol=1e-6)
    # Only the building's own comparison ran the shape before: it was recorded at the latest
    # in the second run.
    assert graphs.live - live <= 1
    assert graphs.launched - launched >= 5


def test_when_buffers_grow_the_old_graphs_go_and_results_stay_right(options, graphs):
    session = open_session(options)
    session = open_session(options)  # from the cache: only small shapes were run
    for step, batch in enumerate((2, 2, 2, 128, 2, 2, 2, 128, 128)):
        x = values(batch, step)
        np.testing.assert_allclose(session.run(x=x)["y"], expected(x), rtol=1e-6)


def test_without_graphs_it_runs_on(options, graphs, caplog):
    caplog.set_level("INFO")
    graphs.broken = True
    session = open_session(options)
    for step in range(4):
        x = values(5, step)
        np.testing.assert_allclose(session.run(x=x)["y"], expected(x), rtol=1e-6)
    assert "runs without CUDA graphs" in caplog.text


def test_many_shapes_keep_a_bounded_number_of_contexts(options, graphs):
    session = open_session(options, find_detector("mtcnn")["pnet"])
    for side in range(40, 80):
        for _ in range(2):
            session.run(images=np.zeros((1, 3, side, side), np.float32))
    assert len(session._engine._contexts) == 32
    assert graphs.live <= 32


def test_any_thread_may_run_and_drop_a_session(options, graphs):
    from pycuda import driver

    session = open_session(options)
    failures = []

    def work(seed, run=session.run):
        try:
            x = values(seed + 1, seed)
            np.testing.assert_allclose(run(x=x)["y"], expected(x), rtol=1e-6)
        except Exception as error:  # what the thread saw, for the test's own
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert driver.allocations
    session._thread.call(lambda: None)
    owner = session._thread
    del session, work, threads, thread
    gc.collect()
    owner.call(lambda: None)
    assert driver.allocations == {}
    assert graphs.live == 0


def test_sessions_are_freed_before_the_gpus_thread_ends(gpu, options):
    code = """if True:
        import atexit, sys, tempfile
        from pycuda import driver
        from gpu_stand_in import network
        from mask_detector_ros.inference import create_session
        from mask_detector_ros.inference.options import EngineOptions

        # What is registered first runs last; a directory is often there before a session.
        atexit.register(lambda: print("at exit", driver.allocations))
        directory = tempfile.TemporaryDirectory()
        options = EngineOptions(precision="fp32", engine_cache_dir=sys.argv[1])
        session = create_session(network(), "scale", "tensorrt", 1, options)
        print("before", bool(driver.allocations))
    """
    open_session(options, network())
    command = [sys.executable, "-c", code, options.engine_cache_dir]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["before True", "at exit {}"]
    assert "Exception ignored" not in done.stderr


def test_a_network_without_free_dimensions_needs_no_profile(any_gpu, options):
    session = open_session(options, network(batch=2))
    x = values(2)
    np.testing.assert_allclose(session.run(x=x)["y"], expected(x), rtol=1e-6)
    with pytest.raises(ModelError, match="takes x float32"):
        session.run(x=values(3))


def test_an_image_beyond_the_engine_is_refused_with_what_to_change(gpu, options):
    session = open_session(options, find_detector("mtcnn")["pnet"])
    with pytest.raises(ImageError, match=r"at most \(1, 3, 256, 2560\).*raise min_face_size"):
        session.run(images=np.zeros((1, 3, 100, 2561), np.float32))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_precision_reaches_the_builder_by_flag_or_by_file(any_gpu, tmp_path, precision):
    options = EngineOptions(precision=precision, engine_cache_dir=str(tmp_path))
    open_session(options, find_classifier("mask_classifier"))
    content = next(tmp_path.glob("*.engine")).read_bytes()
    header, _, model = content.partition(b"fake plan\n")[2].partition(b"\n")
    header, weights = json.loads(header), onnx.load_from_string(model).graph.initializer
    by_flag = any_gpu.version.startswith("8")
    half = precision == "fp16"
    assert header["typed"] is not by_flag
    # TF32, on by default, is off: it has the precision of fp16.
    assert header["flags"] == (["FP16"] if by_flag and half else [])
    is_half = TensorProto.FLOAT16 in {tensor.data_type for tensor in weights}
    assert is_half is (half and not by_flag)


@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
def test_a_network_that_places_faces_has_one_engine_in_fp32(gpu, tmp_path, precision):
    options = EngineOptions(precision="fp32", engine_cache_dir=str(tmp_path))
    rnet = find_detector("mtcnn")["rnet"]
    open_session(options, rnet)
    session = open_session(replace(options, precision=precision), rnet)
    assert session.device.endswith(", fp32)")
    assert [path.name[:4] for path in tmp_path.glob("*.engine")] == ["fp32"]


def test_wrong_results_in_fp16_are_refused_with_the_way_out(gpu, tmp_path):
    gpu.set(run_fault="wrong")
    options = EngineOptions(precision="fp16", engine_cache_dir=str(tmp_path))
    with pytest.raises(ModelError, match=r"fp16 differs from the CPU by 1 .*precision:=fp32"):
        open_session(options)
    assert list(tmp_path.glob("*.engine")) == []


@pytest.mark.parametrize("fault", ["half-wrong", "half-nan"])
def test_auto_takes_fp32_where_fp16_computes_something_else(bare_gpu, tmp_path, caplog, fault):
    bare_gpu.install("8.6.1")
    bare_gpu.set(run_fault=fault)
    session = open_session(EngineOptions(engine_cache_dir=str(tmp_path)))
    assert session.device == "Orin (TensorRT 8.6.1, fp32)"
    assert "using fp32" in caplog.text


def test_outputs_that_are_no_numbers_are_an_error_not_a_result(gpu, options):
    session = open_session(options)
    gpu.set(run_fault="nan")
    with pytest.raises(BackendError, match=r"scale on Orin .* infinity or NaN in y, scaled; use"):
        session.run(x=values(2))


def test_a_full_gpu_is_an_error_that_names_cuda(gpu, options):
    gpu.set(memory=100)
    with pytest.raises(BackendError, match=r"CUDA failed: .*out of memory"):
        open_session(options)


def test_a_gpu_that_is_not_there_is_said(gpu, options):
    gpu.set(gpus=None)
    with pytest.raises(BackendError, match=r"no CUDA device was found.*backend:=onnxruntime"):
        open_session(options)
    gpu.set(gpus=2)
    wrong = EngineOptions(device=2, engine_cache_dir=options.engine_cache_dir)
    with pytest.raises(BackendError, match="device 2 does not exist: the driver shows 2"):
        open_session(wrong)


@pytest.mark.parametrize("content", [b"", b"not a network", network()[:60]])
def test_a_wrong_or_truncated_model_is_refused_before_anything_is_built(gpu, options, content):
    with pytest.raises(ModelError, match=r"not a model that ONNX Runtime .* can load"):
        create_session(content, "scale", "tensorrt", 1, options)
    assert gpu.builds == 0


@pytest.mark.usefixtures("builder_process")
def test_a_long_build_is_reported_though_tensorrt_8_says_nothing(
    bare_gpu, options, monkeypatch, caplog
):
    caplog.set_level("INFO")
    bare_gpu.install("8.6.1")
    bare_gpu.set(build_seconds=2)
    monkeypatch.setattr("mask_detector_ros.inference.tensorrt.session.REPORT_PERIOD", 0.2)
    open_session(options)
    assert all(text in caplog.text for text in ("building scale, ", " s so far"))


@pytest.mark.usefixtures("builder_process")
def test_auto_takes_fp32_where_the_package_onnx_is_missing(gpu, tmp_path, caplog):
    (tmp_path / "gpu/site-10.3.0/onnx.py").write_text("raise ImportError('No module named onnx')")
    session = open_session(EngineOptions(engine_cache_dir=str(tmp_path / "engines")))
    assert session.device == "Orin (TensorRT 10.3.0, fp32)"
    assert "do: pip install onnx; using fp32" in caplog.text
