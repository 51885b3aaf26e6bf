"""OpenVINO: what it does with a network beside what every backend does."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from mask_detector_ros.inference import create_session
from mask_detector_ros.models import find_detector

openvino = pytest.importorskip("openvino", reason="the openvino extra is not installed")

from mask_detector_ros.inference import openvino as module  # noqa: E402


@pytest.mark.parametrize("stage", ["rnet", "onet"])
def test_it_gets_its_own_prelu_and_says_the_same(stage):
    model = find_detector("mtcnn")[stage]
    network = openvino.Core().read_model(model, b"")
    module._restore_prelu(network)
    kinds = [node.get_type_name() for node in network.get_ordered_ops()]
    assert kinds.count("PRelu") == {"rnet": 4, "onet": 5}[stage]
    assert "GroupConvolution" not in kinds
    side = {"rnet": 24, "onet": 48}[stage]
    images = np.random.default_rng(0).integers(0, 256, (3, 3, side, side)).astype(np.float32)
    sessions = [create_session(model, stage, name, 1) for name in ("onnxruntime", "openvino")]
    theirs, ours = (session.run(images=images) for session in sessions)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-5)


def test_it_keeps_networks_for_few_sizes():
    session = create_session(find_detector("mtcnn")["rnet"], "rnet", "openvino", 1)
    for _ in range(module.FIXED_AFTER):
        for size in range(1, 17):
            session.run(images=np.zeros((size, 3, 24, 24), np.float32))
    assert sorted(s[0][0] for s in session._of_shape) == [*range(1, 9), 10, 12, 14, 16]


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
    monkeypatch.setattr(module, "SHAPES_KEPT", 2)
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
