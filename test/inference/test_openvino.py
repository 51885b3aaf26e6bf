# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: behaviour beyond that of every backend."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference import create_session
from mask_detector_ros.models import find_detector

openvino = pytest.importorskip("openvino", reason="the openvino extra is not installed")

from mask_detector_ros.inference import openvino as module  # noqa: E402

MAX_THREADS = 6
"""The caller's, two of libraries, and one of TBB that waits for work."""

MAX_GROWTH_MB = 6.0


@pytest.mark.parametrize("stage", ["rnet", "onet"])
def test_it_gets_its_own_prelu_and_says_the_same(stage):
    model = find_detector("mtcnn")[stage]
    network = openvino.Core().read_model(model, b"")
    module.restore_prelu(network)
    kinds = [node.get_type_name() for node in network.get_ordered_ops()]
    assert kinds.count("PRelu") == {"rnet": 4, "onet": 5}[stage]
    assert "GroupConvolution" not in kinds
    side = {"rnet": 24, "onet": 48}[stage]
    images = np.random.default_rng(0).integers(0, 256, (3, 3, side, side)).astype(np.float32)
    sessions = [create_session(model, stage, name, 1) for name in ("onnxruntime", "openvino")]
    theirs, ours = (session.run(images=images) for session in sessions)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-5)


def test_batches_are_split_evenly_and_give_the_same_as_onnxruntime():
    model = find_detector("mtcnn")["rnet"]
    sessions = [create_session(model, "rnet", name, 1) for name in ("openvino", "onnxruntime")]
    ours, reference = sessions
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 24, 24)).astype(np.float32)
    for _ in range(module.FIXED_AFTER + 1):
        for size in (1, 3, 8, 9, 20):
            wanted = reference.run(images=images[:size])
            for name, values in ours.run(images=images[:size]).items():
                np.testing.assert_allclose(values, wanted[name], atol=1e-5)
    # Nine as five and four, twenty as seven, seven and six.
    assert sorted(shape[0] for (shape,) in ours._of_shape) == [1, 3, 4, 5, 6, 7, 8]


def test_a_batch_size_that_does_not_recur_runs_as_single_crops():
    session = create_session(find_detector("mtcnn")["rnet"], "rnet", "openvino", 1)
    images = np.zeros((7, 3, 24, 24), np.float32)
    for _ in range(module.FIXED_AFTER - 1):
        session.run(images=images)
        assert {shape[0] for (shape,) in session._of_shape} == {1}
    session.run(images=images)
    assert {shape[0] for (shape,) in session._of_shape} == {1, 7}


def test_results_stay_as_they_were_after_the_next_run():
    session = create_session(find_detector("mtcnn")["rnet"], "rnet", "openvino", 1)
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 24, 24)).astype(np.float32)
    for size in (1, 9):
        for _ in range(module.FIXED_AFTER + 1):
            first = session.run(images=images[:size])
            kept = {name: values.copy() for name, values in first.items()}
            session.run(images=255 - images[:size])
            for name, values in first.items():
                np.testing.assert_array_equal(values, kept[name])


def test_it_compiles_a_network_of_one_shape_once():
    make = helper.make_tensor_value_info
    tensors = [make(name, TensorProto.FLOAT, [2, 3]) for name in ("images", "scores")]
    node = helper.make_node("Relu", ["images"], ["scores"])
    graph = helper.make_graph([node], "one", tensors[:1], tensors[1:])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = create_session(model.SerializeToString(), "one", "openvino", 1)
    images = np.float32([[1, -2, 3], [-4, 5, -6]])
    for _ in range(2 * module.FIXED_AFTER):
        np.testing.assert_array_equal(session.run(images=images)["scores"], images.clip(0))
    assert not session._of_shape


def test_it_keeps_networks_for_the_shapes_that_come_still(monkeypatch):
    monkeypatch.setattr(module, "VALUES_KEPT", 40 * (20 + 32) * 3)
    monkeypatch.setattr(module, "UNUSED_AFTER", 20)
    session = create_session(find_detector("mtcnn")["pnet"], "pnet", "openvino", 1)
    reference = create_session(find_detector("mtcnn")["pnet"], "pnet", "onnxruntime", 1)
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 40, 40)).astype(np.float32)

    def show(*widths, times):
        for _ in range(times):
            for width in widths:
                found = session.run(images=image[..., :width])
                wanted = reference.run(images=image[..., :width])
                for name, values in wanted.items():
                    np.testing.assert_allclose(found[name], values, atol=1e-4)
        return {width for ((_, _, width, _),) in session._of_shape}

    assert show(20, 24, 28, times=1) == set()
    # There is room for two; the third does not push out one that still comes.
    assert show(20, 24, 28, times=10) == {20, 24}
    assert show(20, 32, times=25) == {20, 32}


def test_bytes_are_converted_before_they_are_transposed():
    """As a proposal network takes frames: uint8 (N, H, W, 3), cast and transposed inside."""
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "weights"], ["maps"], pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "bytes",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["n", 4, "h", "w"])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    content = model.SerializeToString()
    session = create_session(content, "bytes", "openvino", 1)
    reference = create_session(content, "bytes", "onnxruntime", 1)
    assert session.inputs == reference.inputs
    rng = np.random.default_rng(1)
    for height, width in [(8, 12)] * 6 + [(5, 9)] * 2:
        images = rng.integers(0, 256, (1, height, width, 3), np.uint8)
        expected = reference.run(images=images)["maps"]
        np.testing.assert_allclose(session.run(images=images)["maps"], expected, atol=1e-2)
        frame = np.frombuffer(images.tobytes(), np.uint8).reshape(images.shape)  # read-only
        np.testing.assert_allclose(session.run(images=frame)["maps"], expected, atol=1e-2)
    compiled = session._of_shape[(1, 8, 12, 3),]._request.get_compiled_model()
    kinds = [
        node.get_rt_info()["layerType"].astype(str)
        for node in compiled.get_runtime_model().get_ordered_ops()
    ]
    assert "Transpose" not in kinds
    with pytest.raises(ModelError, match="takes images uint8"):
        session.run(images=images.astype(np.float32))


PROGRAM = """
import gc, json, os, sys
from pathlib import Path
import numpy as np
from benchmark.adversarial_images import adversarial
from benchmark.processes import ProcessStatus
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.heap import trim_heap

def look():
    process = ProcessStatus()
    return process.threads(), process.memory()["VmRSS"]

chance = np.random.default_rng(0)
rounds = []
for _ in range(2):
    detector = MaskDetector.load(backend="openvino", threads=1)
    # Sizes that recur, so that networks are compiled for them, and others that do not.
    sizes = [(32 * i, 240) for i in range(2, 8)] * 5
    sizes += [tuple(map(int, chance.integers(30, 300, 2))) for _ in range(20)]
    for number, (height, width) in enumerate(sizes):
        detector(adversarial(("faces", "noise")[number % 2], height, width, 8))
    threads, _ = look()
    del detector
    trim_heap()
    rounds.append((threads, look()[1]))
print(json.dumps(rounds))
"""


def test_threads_and_memory_are_bounded_whatever_sizes_come():
    """In a process of its own: oneDNN's cache belongs to the whole process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ONEDNN")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    rounds = json.loads(done.stdout.splitlines()[-1])
    # With a stream for each compiled network there were 23 threads on a machine of two cores.
    assert max(threads for threads, _ in rounds) <= MAX_THREADS
    # A cache of oneDNN's default size left 12 MB after the second round, ours 1 MB.
    (_, first), (_, second) = rounds
    assert second - first < MAX_GROWTH_MB
