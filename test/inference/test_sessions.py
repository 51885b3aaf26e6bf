# SPDX-License-Identifier: Apache-2.0
"""Sessions: the behaviour of every backend, checked on each installed one."""

import importlib.machinery
import importlib.util
import os
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mask_detector_ros.errors import BackendError, ModelError
from mask_detector_ros.inference import BACKENDS, choose_backend, create_session, is_installed
from mask_detector_ros.inference.session import TensorInfo
from mask_detector_ros.inference.thread_pool import ThreadPool
from mask_detector_ros.models import find_detector


@pytest.fixture(params=BACKENDS)
def backend(request, bare_gpu):
    if request.param == "cuda":
        # A real GPU is `make gpu-check`'s.
        bare_gpu.install_cuda()
    elif not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    return request.param


def doubling_network(**metadata):
    """Two times (n, 3) plus the weights 1, 2, 3."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("Add", ["twice", "weights"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3])
            for name in ("y", "twice")
        ],
        [numpy_helper.from_array(np.float32([1, 2, 3]), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    return model.SerializeToString()


@pytest.fixture
def session(backend):
    return create_session(doubling_network(color="BGR", labels='["ä"]'), "double", backend, 1)


def test_a_session_says_what_the_file_says(session, backend):
    assert session.name == "double"
    assert session.backend == backend
    assert session.device
    assert session.inputs == (TensorInfo("x", np.dtype(np.float32), (-1, 3)),)
    assert session.outputs == tuple(
        TensorInfo(name, np.dtype(np.float32), (-1, 3)) for name in ("y", "twice")
    )
    assert session.metadata == {"color": "BGR", "labels": '["ä"]'}


def test_a_network_without_metadata_has_none(backend):
    assert create_session(doubling_network(), "double", backend).metadata == {}


@pytest.mark.parametrize("count", [0, 1, 5])
def test_named_arrays_go_in_and_come_out(session, count):
    x = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    out = session.run(x=x)
    np.testing.assert_array_equal(out["twice"], 2 * x)
    np.testing.assert_array_equal(out["y"], 2 * x + np.float32([1, 2, 3]))


def test_no_images_after_some_give_no_results(session):
    for count in (3, 0, 2, 0):
        found = session.run(x=np.ones((count, 3), np.float32))
        assert {name: value.shape for name, value in found.items()} == {
            "y": (count, 3),
            "twice": (count, 3),
        }


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_no_thread_is_tied_to_a_core(backend, threads):
    # Else two processes that detect share the core that both are tied to.
    pytest.importorskip(backend)
    others = set(os.listdir("/proc/self/task")) - {str(os.getpid())}
    session = create_session(find_detector("mtcnn")["pnet"], "pnet", backend, threads)
    images = np.zeros((1, 3, 300, 300), np.uint8)
    seen, done = set(), threading.Event()

    def watch():
        while not done.is_set():
            for task in set(os.listdir("/proc/self/task")) - others:
                with suppress(ProcessLookupError):
                    seen.add(frozenset(os.sched_getaffinity(int(task))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(20):
            session.run(images=images)
    finally:
        done.set()
        watcher.join()
    assert seen == {frozenset(os.sched_getaffinity(0))}


def test_in_lanes_several_threads_run_a_session_at_a_time(backend):
    alone = create_session(find_detector("mtcnn")["rnet"], "rnet", backend, 1)
    shared = create_session(find_detector("mtcnn")["rnet"], "rnet", backend, 3, concurrent=True)
    assert alone.concurrency == 1
    assert shared.concurrency == (3 if backend == "onnxruntime" else 1)
    batches = np.random.default_rng(0).integers(0, 256, (20, 2, 3, 24, 24), np.uint8)
    found = ThreadPool(shared.concurrency).map(
        lambda batch: shared.run(images=batch)["scores"], batches
    )
    for batch, scores in zip(batches, found, strict=True):
        np.testing.assert_allclose(scores, alone.run(images=batch)["scores"], atol=1e-5)


def test_results_are_the_callers_to_keep(session):
    first = session.run(x=np.ones((2, 3), np.float32))["twice"]
    session.run(x=np.zeros((2, 3), np.float32))
    assert (first == 2).all()


def test_an_array_that_is_not_contiguous_serves_too(session):
    x = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(session.run(x=x)["twice"], 2 * x)


@pytest.mark.parametrize("stage", ["pnet", "rnet"])
def test_bytes_serve_where_floats_are_wanted_in_any_memory_layout(backend, stage):
    session = create_session(find_detector("mtcnn")[stage], stage, backend, 1)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
    # OpenVINO has one network for shapes that are new and another for those that it knows.
    for _ in range(8):
        expected = session.run(images=planes)
        for array in (pixels.transpose(0, 3, 1, 2), planes.astype(np.uint8)):
            for images in (array, array.astype(np.float32)):
                for name, values in session.run(images=images).items():
                    np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize(
    ("arrays", "got"),
    [
        ({}, "nothing"),
        ({"z": np.zeros((1, 3), np.float32)}, "nothing"),
        ({"x": np.zeros((1, 3))}, r"float64 \(1, 3\)"),
        ({"x": np.zeros((1, 4), np.float32)}, r"float32 \(1, 4\)"),
        ({"x": np.zeros(3, np.float32)}, r"float32 \(3,\)"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(session, arrays, got):
    with pytest.raises(ModelError, match=rf"double takes x float32 \(-1, 3\), got {got}"):
        session.run(**arrays)


def test_a_network_of_the_expected_form_is_taken(session):
    session.require({"x": (-1, 3)}, ("y",))


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"images": (-1, 3)}, ("y",)),
        ({"x": (-1, 4)}, ("y",)),
        ({"x": (-1, -1)}, ("y",)),
        ({"x": (-1, 3, 1)}, ("y",)),
        ({"x": (-1, 3), "z": (1,)}, ("y",)),
        ({"x": (-1, 3)}, ("y", "scores")),
    ],
)
def test_a_network_of_another_form_is_refused_with_what_was_wanted_and_what_is_there(
    session, inputs, outputs
):
    with pytest.raises(ModelError) as error:
        session.require(inputs, outputs)
    message = str(error.value)
    assert message.startswith("double is not of the expected form: it must take ")
    assert all(f"{name} float32 {shape}" in message for name, shape in inputs.items())
    assert "the file takes x float32 (-1, 3) and gives y, twice" in message
    assert message.endswith("give the file that was made for this stage")


NO_TEXT = b"\x80\xff"
"""Not UTF-8."""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a network",
        doubling_network()[:60],
        doubling_network(color="??").replace(b"??", NO_TEXT),
        doubling_network().replace(b"twice", b"twi" + NO_TEXT),
    ],
)
def test_what_is_no_network_is_refused_with_what_to_do(backend, content):
    with pytest.raises(ModelError, match=r"double is not a model that .* can load .* get it again"):
        create_session(content, "double", backend)


def test_auto_takes_the_first_installed_backend_and_says_which(caplog):
    caplog.set_level("INFO")
    chosen = choose_backend("auto")
    assert chosen == next(name for name in BACKENDS if find_spec(name))
    assert f"backend auto: {chosen}" in caplog.text


def test_auto_without_any_backend_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="no inference backend is installed; do: pip install"):
        choose_backend("auto")


@pytest.mark.parametrize("name", BACKENDS)
def test_an_explicit_backend_never_becomes_another(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=rf"{name} is not installed; do: pip (un)?install"):
        choose_backend(name)


def test_an_unknown_backend_is_refused_and_the_known_ones_are_named():
    with pytest.raises(
        BackendError,
        match="must be one of auto, onnxruntime, openvino, tensorrt, cuda, triton, got 'tvm'",
    ):
        choose_backend("tvm")


def test_every_batch_size_gives_the_same_again_and_again(backend):
    session = create_session(find_detector("mtcnn")["rnet"], "rnet", backend, 1)
    crops = np.random.default_rng(0).uniform(0, 255, (13, 3, 24, 24)).astype(np.float32)
    wanted = session.run(images=crops)
    for _ in range(7):
        for size in (1, 13, 5, 0, 2):
            found = session.run(images=crops[:size])
            for name, values in found.items():
                np.testing.assert_allclose(values, wanted[name][:size], atol=1e-5)


@pytest.mark.parametrize(
    ("backend", "text"),
    [
        ("auto", r"no inference backend is installed; do: {remedy}"),
        ("onnxruntime", r"onnxruntime is not installed; do: {remedy}"),
        ("cuda", r"cuda is not installed; do: pip uninstall -y onnxruntime onnxruntime-gpu && pip"),
    ],
)
def test_what_pip_leaves_of_two_onnxruntimes_is_not_an_installed_one(backend, text, monkeypatch):
    # Removing one of onnxruntime and onnxruntime-gpu leaves a folder without __init__.py.
    def find(name):
        return importlib.machinery.ModuleSpec(name, None) if name == "onnxruntime" else None

    monkeypatch.setattr(importlib.util, "find_spec", find)
    remedy = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime"
    with pytest.raises(BackendError, match=text.format(remedy=remedy)):
        choose_backend(backend)


def test_a_backend_that_cannot_be_imported_is_an_error_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "mask_detector_ros.inference.onnxruntime", None)
    text = r"libraries of backend onnxruntime cannot be imported \(.*; do: pip uninstall -y onnxr"
    with pytest.raises(BackendError, match=text):
        create_session(doubling_network(), "double", "onnxruntime")
