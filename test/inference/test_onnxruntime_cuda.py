# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend on a simulated GPU: buffers, batches, graphs, threads, faults."""

import threading

import numpy as np
import pytest
from gpu_stand_in import network
from two_stage_networks import proposal_network

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import BackendError, ModelError
from mask_detector_ros.inference import EngineOptions, create_session
from mask_detector_ros.inference.onnxruntime_cuda import GRAPH_LIMIT, RECORD_AFTER, SHAPES_KEPT


@pytest.fixture
def fake(bare_gpu):
    bare_gpu.fake = bare_gpu.install_cuda()
    return bare_gpu


def open_session(model=None, **options):
    return create_session(model or network(), "scale", "cuda", 1, EngineOptions(**options))


def values(batch, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (batch, 3)).astype(np.float32)


def expected(x):
    return x * np.float32(0.25 / 255) + np.arange(3, dtype=np.float32)


def test_it_says_where_it_runs(fake):
    session = open_session()
    assert session.backend == "cuda"
    assert session.device == f"Orin (ONNX Runtime {fake.fake.__version__})"


def test_one_many_none_many_faces_are_what_fresh_sessions_find(fake):
    session = open_session()
    for step, batch in enumerate((1, 40, 0, 128, 1, 0, 0, 3, 17, 300, 40, 40, 40)):
        x = values(batch, step)
        np.testing.assert_allclose(session.run(x=x)["y"], expected(x), rtol=1e-6)


def test_batches_are_filled_up_so_that_few_graphs_are_recorded_and_then_replayed(fake):
    session = open_session()
    fake.fake.replays.clear()
    for step, batch in enumerate((17, 20, 25, 32, 31, 18, 32)):
        x = values(batch, step)
        np.testing.assert_allclose(session.run(x=x)["y"], expected(x), rtol=1e-6)
    assert len(set(fake.fake.replays)) == 1
    assert len(fake.fake.replays) == 7 - RECORD_AFTER - 1


def test_the_comparison_at_the_start_sees_a_graph(fake):
    fake.fake.replays.clear()
    open_session()
    assert fake.fake.replays


def test_frames_of_many_sizes_keep_a_bounded_number_of_buffers_and_graphs(fake):
    session = create_session(proposal_network(), "proposal", "cuda", 1)
    for side in range(1, SHAPES_KEPT + 20):
        image = np.full((1, 32 * side, 32, 3), side, np.uint8)
        for _ in range(RECORD_AFTER + 1):
            scores = session.run(images=image)["scores_8"]
            np.testing.assert_allclose(scores, side / 255, rtol=1e-5)
    assert len(session._buffers) <= SHAPES_KEPT
    assert len(session._session.graphs) <= GRAPH_LIMIT


def test_frames_of_several_cameras_go_in_one_batch(fake):
    session = create_session(proposal_network(), "proposal", "cuda", 1)
    images = np.stack([np.full((64, 96, 3), v, np.uint8) for v in range(8)])
    scores = session.run(images=images)["scores_8"]
    np.testing.assert_allclose(scores[:, 0], np.arange(8) / 255, atol=1e-6)


def test_results_are_the_callers_to_keep(fake):
    session = open_session()
    results = [session.run(x=values(4, seed))["y"] for seed in range(5)]
    for seed, result in enumerate(results):
        np.testing.assert_allclose(result, expected(values(4, seed)), rtol=1e-6)


def test_any_thread_may_run_it(fake):
    session = open_session()
    failures = []

    def work(seed):
        for step in range(5):
            x = values(seed + 1, 10 * seed + step)
            if not np.allclose(session.run(x=x)["y"], expected(x)):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_network_that_takes_no_graphs_runs_without(fake, caplog):
    caplog.set_level("INFO")
    fake.set(load_fault="graphs")
    session = open_session()
    for step in range(4):
        x = values(5, step)
        np.testing.assert_allclose(session.run(x=x)["y"], expected(x), rtol=1e-6)
    assert "scale runs without CUDA graphs" in caplog.text


def test_the_silent_cpu_is_an_error(fake):
    fake.set(load_fault="cpu")
    with pytest.raises(BackendError, match=r"would run scale on CPUExecutionProvider and not on"):
        open_session()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("lost", r"scale failed on Orin .*CUDA failure 719.*nvidia-smi and dmesg \(Xid\)"),
        ("memory", r"Failed to allocate memory; free memory of the GPU"),
        ("kernel", r"no kernel image .*not built for this GPU.*backend:=onnxruntime"),
    ],
)
def test_a_fault_in_mid_stream_is_one_line_with_what_to_do(fake, fault, message):
    session = open_session()
    session.run(x=values(2))
    fake.set(run_fault=fault)
    with pytest.raises(BackendError, match=message) as error:
        session.run(x=values(200))
    assert "\n" not in str(error.value)
    fake.set()
    np.testing.assert_allclose(session.run(x=values(2))["y"], expected(values(2)), rtol=1e-6)


NOISE = "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv node. "
SOURCE = "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena"
SOURCE += "::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, onnxruntime::WaitFn) "


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            f"{NOISE}Name:'/{'a' * 90}' Status Message: {SOURCE}Failed to allocate memory for "
            "requested buffer of size 9",
            "Failed to allocate memory for requested buffer of size 9; free memory of the GPU, "
            "raise min_face_size, or use backend:=onnxruntime",
        ),
        (
            f"{NOISE}Name:'a' Status Message: CUDA failure 719: unspecified launch failure ; GPU=0 "
            "; hostname=robot ; file=/onnxruntime_src/x.cc ; line=7 ; expr=cudaStreamSynchronize()",
            "CUDA failure 719: unspecified launch failure; check the GPU with nvidia-smi and dmesg "
            "(Xid), then start again",
        ),
        (
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=robot ; file=x",
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED; free memory of the GPU, raise "
            "min_face_size, or use backend:=onnxruntime",
        ),
        (
            "CUDA failure 46: devices are busy or unavailable ; GPU=0 ; hostname=x",
            "CUDA failure 46: devices are busy or unavailable; another process may "
            "hold the GPU exclusively; end it, or set another device",
        ),
        (
            f"{NOISE}Name:'a' Status Message: The input cannot be\nreshaped",
            "The input cannot be reshaped; check the GPU with nvidia-smi and dmesg (Xid), then "
            "start again",
        ),
    ],
    ids=["memory", "lost", "memory of a library", "held", "other"],
)
def test_a_message_says_what_happened_without_source_files_and_host_names(fake, told, expected):
    session = open_session()
    assert str(session._failure(RuntimeError(told))) == (
        f"scale failed on Orin (ONNX Runtime {fake.fake.__version__}): {expected}"
    )


def test_a_gpu_that_computes_something_else_is_rejected(fake):
    fake.set(run_fault="wrong")
    with pytest.raises(ModelError, match=r"on Orin .* in fp32 differs from the CPU by 1 "):
        open_session()


def test_a_gpu_that_cannot_be_loaded_is_an_error(fake):
    fake.set(load_fault="lost")
    with pytest.raises(BackendError, match="CUDA failure 999"):
        open_session()


@pytest.mark.parametrize("content", [b"", b"not a network", network()[:60]])
def test_a_damaged_model_is_the_models_fault(fake, content):
    with pytest.raises(ModelError, match=r"not a model that ONNX Runtime .* can load"):
        create_session(content, "scale", "cuda", 1)


def test_the_detector_finds_on_it_what_it_finds_on_the_cpu(fake, astronaut):
    on_gpu = MaskDetector.load(backend="cuda", detector_model="mtcnn", threads=1)
    on_cpu = MaskDetector.load(backend="onnxruntime", detector_model="mtcnn", threads=1)
    for _ in range(RECORD_AFTER + 2):
        found, wanted = on_gpu(astronaut), on_cpu(astronaut)
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.1)
