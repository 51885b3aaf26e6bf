# SPDX-License-Identifier: Apache-2.0
"""The output head that is added to a network computes the original's probabilities."""

import numpy as np
import pytest

from mask_detector_ros.errors import ModelError

onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")
from onnx import TensorProto, helper  # noqa: E402

from convert_to_trt.output_head import (  # noqa: E402
    Head,
    choose_head,
    find_end,
    require_probabilities,
)
from mask_detector_ros.inference import create_session  # noqa: E402


def network(*operations, shape=("batch", 2), element=TensorProto.FLOAT):
    """A chain of operations from `values` to `out`."""
    names = ["values", *(f"v{i}" for i in range(len(operations) - 1)), "out"]
    nodes = [
        helper.make_node(operation, [a], [b])
        for operation, a, b in zip(operations, names, names[1:], strict=False)
    ]
    ends = [[helper.make_tensor_value_info(n, element, shape)] for n in ("values", "out")]
    graph = helper.make_graph(nodes, "network", *ends)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


SHAPES = {"rows": (5, 3), "two": (5, 2), "one": (5, 1), "flat": (5,), "map": (5, 2, 1, 1)}


@pytest.mark.parametrize("step", ["", "softmax", "sigmoid", "normalise"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("element", [np.float32, np.float16, np.float64], ids=lambda e: e.__name__)
def test_the_head_in_the_file_computes_the_same_as_the_one_for_the_original(step, shape, element):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(element))
    model = network("Identity", shape=("batch", *shape[1:]), element=kind)
    columns = int(np.prod(shape[1:]))
    head = Head(columns, len(shape), "sigmoid" if step and columns == 1 else step)
    head.add_to(model)
    onnx.checker.check_model(model)
    values = np.random.default_rng(0).uniform(0, 1, shape).astype(element)
    session = create_session(model.SerializeToString(), "head", "onnxruntime")
    found = session._session.run(None, {"values": values})[0]
    assert found.dtype == np.float32
    assert found.shape == (5, max(columns, 2))
    np.testing.assert_allclose(found, head(values), atol=1e-6)


def test_one_output_is_the_probability_of_the_second_label():
    np.testing.assert_allclose(Head(1)(np.float32([[0.9]])), [[0.1, 0.9]], rtol=1e-6)


@pytest.mark.parametrize("operation", ["Softmax", "Sigmoid", "HardSigmoid"])
def test_the_activation_is_found_behind_operations_that_change_nothing(operation):
    assert find_end(network(operation))[0] == operation
    assert find_end(network(operation, "Identity", "Flatten"))[0] == operation
    assert find_end(network(operation, "Neg"))[0] == ""


@pytest.mark.parametrize(("operation", "columns"), [("Softmax", 2), ("Sigmoid", 2), ("Sigmoid", 1)])
def test_scores_are_the_values_before_the_activation_and_keep_odds_that_saturate(
    operation, columns
):
    rows = np.full((3, columns), 1 / columns, np.float32)
    head = choose_head(network(operation, "Identity"), rows, False, "mask.h5")
    assert head.scores == "values"
    scores = np.array([[-500.0], [500.0]]) if columns == 1 else np.array([[250, -250], [-250, 250]])
    odds = np.log(head.from_scores(scores))
    np.testing.assert_allclose(odds[:, 1] - odds[:, 0], [-500, 500])


def test_scores_of_a_network_without_its_activation_are_its_output():
    model = network("Identity", shape=("n", 1))
    head = choose_head(model, np.zeros((3, 1)), True, "mask.h5")
    assert head.scores == model.graph.output[0].name
    assert choose_head(network("Neg"), np.float32([[0.4, 0.6]]), False, "mask.h5").scores == ""


@pytest.mark.parametrize("operation", ["Softmax", "Sigmoid"])
def test_logits_are_refused_where_the_network_has_an_activation(operation):
    with pytest.raises(ModelError, match=f"ends in a {operation.lower()} already"):
        choose_head(network(operation), np.float32([[0.3, 0.7]]), True, "mask.h5")


def test_logits_are_refused_where_the_values_add_up_to_1():
    with pytest.raises(ModelError, match="probabilities already"):
        choose_head(network("Identity"), np.float32([[0.3, 0.7], [0.9, 0.1]]), True, "mask.h5")


def test_a_softmax_over_one_value_is_refused():
    with pytest.raises(ModelError, match="softmax over a single value"):
        choose_head(network("Softmax", shape=("n", 1)), np.ones((4, 1)), False, "mask.h5")


@pytest.mark.parametrize("rows", [[[0.4, 0.6]], [[0.9, 0.9]]], ids=["by chance 1", "1.8"])
def test_several_sigmoids_are_divided_by_their_sum_whatever_they_add_up_to(rows):
    head = choose_head(network("Sigmoid"), np.float32(rows), False, "mask.h5")
    assert head.step == "normalise"
    assert "sigmoids" in head.note
    assert head(np.float32(rows)).sum() == pytest.approx(1)


def test_logarithms_of_probabilities_become_probabilities_again():
    rows = np.log(np.float32([[0.3, 0.7], [0.9, 0.1]]))
    for logits in (False, True):
        head = choose_head(network("LogSoftmax"), rows, logits, "mask.onnx")
        np.testing.assert_allclose(head(rows), np.exp(rows), rtol=1e-6)


@pytest.mark.parametrize("rows", [np.full((4, 2), 0.25), np.ones((4, 2))], ids=["batch", "one"])
def test_a_softmax_over_another_axis_is_named(rows):
    with pytest.raises(ModelError, match=r"not run over the labels.*--logits --outputs values"):
        choose_head(network("Softmax"), rows, False, "mask.onnx")


def test_the_number_of_a_label_is_no_probability():
    with pytest.raises(ModelError, match=r"number of a label.*ends in ArgMax.*--outputs values"):
        choose_head(network("ArgMax", "Cast"), np.int64([0, 1, 1]), False, "mask.onnx")


def test_inner_values_are_offered_where_they_can_be_chosen_only():
    with pytest.raises(ModelError, match=r"export it without that operation$"):
        choose_head(network("ArgMax"), np.int64([0, 1]), False, "mask.h5", is_onnx=False)


def test_a_map_of_places_is_no_row_of_labels():
    with pytest.raises(ModelError, match="one row"):
        choose_head(network("Identity"), np.ones((1, 2, 7, 7)), False, "mask.h5")


@pytest.mark.parametrize(
    ("row", "reason"),
    [([np.nan, 1], "not finite"), ([-3, 4], "--logits"), ([0.7, 0.7], "do not add up to 1")],
)
def test_values_that_are_no_probabilities_are_refused(row, reason):
    with pytest.raises(ModelError, match=reason):
        require_probabilities(np.float32([row]), "mask.h5")
