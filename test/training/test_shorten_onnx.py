# SPDX-License-Identifier: Apache-2.0
"""The shipped networks have no operation that their outputs do not need."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mask_detector_ros.inference.onnxruntime import OnnxRuntimeSession
from training import shorten_onnx

MODELS = Path(__file__).parents[2] / "models"


def operations(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(("name", "most"), [("proposal", 87), ("decision", 33)])
def test_the_shipped_networks_are_short(name, most, tmp_path):
    path = tmp_path / f"{name}.onnx"
    shutil.copy(MODELS / path.name, path)
    assert shorten_onnx.main([str(path)]) == 0
    short = onnx.load(path)
    assert operations(short) == operations(onnx.load(MODELS / path.name))
    assert len(short.graph.node) <= most
    assert not {"Shape", "Gather", "Constant"} & set(operations(short))


def level_as_torch_writes_it():
    """The end of a proposal network for stride 8: sizes from a Shape, channels by Gather."""
    constants = {
        "start": np.array([0]),
        "stop": np.array([2]),
        "rest": np.array([-1]),
        "first": np.array(0),
        "second": np.array(1),
        "from": np.array([2]),
        "to": np.array([6]),
        "axis": np.array([1]),
        "exponent": np.float32(0.3),
    }
    nodes = [
        ("Shape", ["map"], "sizes", {}),
        ("Slice", ["sizes", "start", "stop"], "kept", {}),
        ("Concat", ["kept", "rest"], "target", {"axis": 0}),
        ("Reshape", ["map", "target"], "flat", {}),
        ("Gather", ["flat", "first"], "a", {"axis": 1}),
        ("Gather", ["flat", "second"], "b", {"axis": 1}),
        ("Sigmoid", ["a"], "p", {}),
        ("Sigmoid", ["b"], "q", {}),
        ("Mul", ["p", "q"], "pq", {}),
        ("Pow", ["pq", "exponent"], "scores_8", {}),
        ("Slice", ["flat", "from", "to", "axis"], "moves", {}),
        ("Transpose", ["moves"], "boxes_8", {"perm": [0, 2, 1]}),
    ]
    made = [helper.make_node(kind, feeds, [out], **named) for kind, feeds, out, named in nodes]
    graph = helper.make_graph(
        made,
        "level",
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["n", 6, "h", "w"])],
        [
            helper.make_tensor_value_info("scores_8", TensorProto.FLOAT, ["n", "p"]),
            helper.make_tensor_value_info("boxes_8", TensorProto.FLOAT, ["n", "p", 4]),
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_short_network_computes_the_same():
    long, short = level_as_torch_writes_it(), level_as_torch_writes_it()
    shorten_onnx.shorten(short)
    assert operations(short) == ["Reshape", "Split", "Sigmoid", "ReduceProd", "Pow", "Transpose"]
    maps = np.random.default_rng(0).normal(0, 2, (2, 6, 5, 7)).astype(np.float32)
    wanted, found = (
        OnnxRuntimeSession(model.SerializeToString(), "level", 1, False).run(map=maps)
        for model in (long, short)
    )
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)
