# SPDX-License-Identifier: Apache-2.0
"""A proposal network and a decision network that see white squares on black as faces.

Small enough to follow by hand: a cell proposes a box of two strides about its corner, with the mean
brightness of its pixels as the score; the decision's score is the mean brightness of the middle
half of the crop, its box is the middle half, and white on the left of the crop is one label.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, MARGIN, LABELS = 16, 0.5, ["with_mask", "without_mask"]


def _tensor(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def _model(nodes, constants, image, outputs, metadata):
    graph = helper.make_graph(
        nodes,
        "squares",
        [helper.make_tensor_value_info(*image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def proposal_network(smallest_face=16, largest_face=512, strides=(8, 16)):
    """Scores and boxes of cells; each box is two strides wide and centred on its cell's corner."""
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["values"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["planes"], ["grey"], axes=[1], keepdims=1),
    ]
    constants = [_tensor("full", np.float32(255)), _tensor("flat", np.int64([0, -1]))]
    constants += [_tensor("column", np.int64([0, -1, 1])), _tensor("four", np.int64([1, 1, 4]))]
    constants += [_tensor("moves", np.float32([[[0, 0, np.log(2), np.log(2)]]]))]
    outputs = []
    for s in strides:
        window = {"kernel_shape": [s, s], "strides": [s, s]}
        nodes += [
            helper.make_node("AveragePool", ["grey"], [f"mean_{s}"], **window),
            helper.make_node("Div", [f"mean_{s}", "full"], [f"map_{s}"]),
            helper.make_node("Reshape", [f"map_{s}", "flat"], [f"scores_{s}"]),
            helper.make_node("Reshape", [f"scores_{s}", "column"], [f"column_{s}"]),
            helper.make_node("Tile", [f"column_{s}", "four"], [f"copies_{s}"]),
            helper.make_node("Sub", [f"copies_{s}", f"copies_{s}"], [f"zeros_{s}"]),
            helper.make_node("Add", [f"zeros_{s}", "moves"], [f"boxes_{s}"]),
        ]
        outputs += [(f"scores_{s}", ("n", f"p{s}")), (f"boxes_{s}", ("n", f"p{s}", 4))]
    metadata = {"smallest_face": smallest_face, "largest_face": largest_face, "strides": strides}
    image = ("images", TensorProto.UINT8, ("n", "h", "w", 3))
    return _model(nodes, constants, image, outputs, metadata)


def decision_network():
    """Score, offsets, landmarks and probabilities of crops; see above."""
    middle, left = np.zeros((SIDE, SIDE, 3), np.float32), np.zeros((SIDE, SIDE, 3), np.float32)
    quarter = SIDE // 4
    middle[quarter:-quarter, quarter:-quarter] = 1
    left[quarter:-quarter, quarter : SIDE // 2] = 1
    columns = [weights.reshape(-1, 1) / weights.sum() / 255 for weights in (middle, left)]
    nodes = [
        helper.make_node("Cast", ["crops"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["values"], ["rows"]),
        helper.make_node("MatMul", ["rows", "middle"], ["score"]),
        helper.make_node("Reshape", ["score", "flat"], ["scores"]),
        helper.make_node("MatMul", ["rows", "left"], ["first"]),
        helper.make_node("Sub", ["one", "first"], ["second"]),
        helper.make_node("Concat", ["first", "second"], ["probabilities"], axis=1),
        helper.make_node("Sub", ["score", "score"], ["zero"]),
        helper.make_node("Add", ["zero", "edges"], ["offsets"]),
        helper.make_node("Reshape", ["zero", "cube"], ["zeros"]),
        helper.make_node("Add", ["zeros", "points"], ["landmarks"]),
    ]
    points = [[[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.3, 0.7], [0.7, 0.7]]]
    constants = [
        _tensor("middle", columns[0].astype(np.float32)),
        _tensor("left", columns[1].astype(np.float32)),
        _tensor("one", np.float32(1)),
        _tensor("flat", np.int64([-1])),
        _tensor("cube", np.int64([-1, 1, 1])),
        _tensor("edges", np.float32([[0.25, 0.25, -0.25, -0.25]])),
        _tensor("points", np.float32(points)),
    ]
    outputs = [("scores", ("n",)), ("offsets", ("n", 4)), ("landmarks", ("n", 5, 2))]
    outputs.append(("probabilities", ("n", len(LABELS))))
    image = ("crops", TensorProto.UINT8, ("n", SIDE, SIDE, 3))
    return _model(nodes, constants, image, outputs, {"labels": LABELS, "margin": MARGIN})
