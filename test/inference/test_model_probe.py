# SPDX-License-Identifier: Apache-2.0
"""Models of users are probed in an isolated process."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from waiting import LIMIT

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.model_probe import probe_model
from mask_detector_ros.inference.session import require_probabilities
from mask_detector_ros.models import MAX_MODEL_BYTES, find_classifier, find_detector

SIDE = 32
METADATA = {
    "labels": json.dumps(["with_mask", "without_mask"]),
    "margin": "0.1",
    "color": "BGR",
    "layout": "NHWC",
    "scale": "1",
    "offset": "0",
}


def classifier(answer: list[float], endless: bool = False) -> bytes:
    """A classifier that gives every crop the same answer, optionally after an endless loop."""
    make = helper.make_tensor_value_info
    crops = make("crops", TensorProto.FLOAT, ["n", SIDE, SIDE, 3])
    given = make("probabilities", TensorProto.FLOAT, ["n", 2])
    nodes = [
        helper.make_node("ReduceSum", ["crops", "axes"], ["sums"], keepdims=0),
        helper.make_node("Unsqueeze", ["sums", "one"], ["column"]),
        helper.make_node("Mul", ["column", "zero"], ["nothing"]),
    ]
    constants = {
        "axes": np.array([1, 2, 3]),
        "one": np.array([1]),
        "zero": np.float32(0),
        "answer": np.float32([answer]),
    }
    last = "nothing"
    if endless:
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["go_on"], ["go_on_still"]),
                helper.make_node("Add", ["value", "value"], ["next"]),
            ],
            "body",
            [
                make("round", TensorProto.INT64, []),
                make("go_on", TensorProto.BOOL, []),
                make("value", TensorProto.FLOAT, ["n", 1]),
            ],
            [make("go_on_still", TensorProto.BOOL, []), make("next", TensorProto.FLOAT, ["n", 1])],
        )
        constants["yes"] = np.array(True)
        nodes.append(helper.make_node("Loop", ["", "yes", "nothing"], ["last"], body=body))
        last = "last"
    nodes.append(helper.make_node("Add", [last, "answer"], ["probabilities"]))
    graph = helper.make_graph(
        nodes,
        "constant",
        [crops],
        [given],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(model, METADATA)
    return model.SerializeToString()


def test_a_good_model_passes() -> None:
    probe_model(classifier([0.25, 0.75]), "good")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([np.nan, 0.5], "not probabilities"),
        ([np.inf, 0.5], "not probabilities"),
        ([1.5, -0.5], "from -0.5 to 1.5, which are not probabilities"),
        ([7.0, 0.0], "not probabilities"),
    ],
)
def test_a_model_without_probabilities_is_rejected_at_load(
    answer: list[float], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(classifier(answer))
    with pytest.raises(ModelError, match=reason):
        MaskDetector.load(classifier_model=str(path), threads=1)


def test_a_model_that_never_returns_is_found_by_a_deadline() -> None:
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"did not give a result within 3 s"):
        probe_model(classifier([0.5, 0.5], endless=True), "endless", deadline=3.0)
    assert time.monotonic() - start < LIMIT


def test_a_model_that_takes_too_much_memory_is_found_before_it_has_it() -> None:
    """The model fills 6 GB with ones and sums them up."""
    shape = numpy_helper.from_array(np.array([3, 1 << 29]), "shape")
    ones = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=ones),
        helper.make_node("ReduceMean", ["ones"], ["one"], keepdims=0),
        helper.make_node("ReduceMean", ["crops"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["means", "one"], ["probabilities"]),
    ]
    make = helper.make_tensor_value_info
    crops = make("crops", TensorProto.FLOAT, ["n", SIDE, SIDE, 3])
    given = make("probabilities", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "large", [crops], [given], [shape])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    with pytest.raises(ModelError, match=r"large.onnx .*(memory|alloc)"):
        probe_model(model.SerializeToString(), "large.onnx")


def test_a_file_that_is_no_model_is_named() -> None:
    with pytest.raises(ModelError, match="rubbish is not a model that"):
        probe_model(b"rubbish", "rubbish")


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-0.1], [1.1], [0.5, np.nan]])
def test_values_that_are_no_probabilities(values: list[float]) -> None:
    with pytest.raises(ModelError, match="are not probabilities"):
        require_probabilities(np.float32(values), "model", "scores")


def test_rounding_is_forgiven() -> None:
    require_probabilities(np.float32([-1e-6, 1 + 1e-6]), "model", "scores")
    require_probabilities(np.empty((0, 3), np.float32), "model", "scores")


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def too_large(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(MAX_MODEL_BYTES + 1)
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(fifo, "is not a regular file", id="pipe"),
        pytest.param(lambda p: Path("/dev/zero"), "is not a regular file", id="device"),
        pytest.param(lambda p: p.parent, "no regular file|directory", id="folder"),
        pytest.param(too_large, "more than 536,870,912", id="size"),
        pytest.param(lambda p: Path("a\0b"), "cannot read", id="null character"),
    ],
)
def test_a_path_that_is_no_file_of_a_model_is_an_error_at_once(
    make, reason: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=reason):
        find_classifier(str(path))


def test_stages_that_are_pipes_are_an_error_at_once(tmp_path: Path) -> None:
    for stage in ("pnet", "rnet", "onet"):
        os.mkfifo(tmp_path / f"{stage}.onnx")
    with pytest.raises(ModelError, match="is not a regular file"):
        find_detector(str(tmp_path))
