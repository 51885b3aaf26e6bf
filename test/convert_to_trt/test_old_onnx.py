# SPDX-License-Identifier: Apache-2.0
"""Early ONNX files, such as Custom Vision's of 2018, are read as today's are."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")
from onnx import helper  # noqa: E402
from onnx_networks import USUAL, classify, network  # noqa: E402


def early(opset):
    """A network of the first IR versions, whose weights are not among the inputs."""
    model = network(nchw=True)
    model.ir_version, model.opset_import[0].version = 3, opset
    return model


@pytest.mark.parametrize("opset", [6, 7])
def test_weights_need_not_be_inputs_whatever_the_version(convert, opset):
    model = early(opset)
    if opset < 7:
        model.graph.node[2].attribute.append(helper.make_attribute("is_test", 1))
    code, _, err, target = convert(model, *USUAL)
    assert code == 0, err
    np.testing.assert_allclose(classify(target), classify(convert(early(17), *USUAL)[3]), atol=1e-6)


def test_the_scaling_of_early_core_ml_exports_is_kept(convert):
    model = early(7)
    scaler = helper.make_node("ImageScaler", ["image"], ["first"], scale=0.5, bias=[1.0, 2.0, 3.0])
    model.graph.node[0].CopyFrom(scaler)
    code, _, err, target = convert(model, *USUAL)
    assert code == 0, err
    assert "ImageScaler" not in {node.op_type for node in onnx.load(target).graph.node}
    halves = ["--mean=-2,-4,-6", "--std", "2", "--scale", "1/255", "--offset", "0"]
    labels = ["--labels", "with_mask,without_mask", "--color", "RGB"]
    code, _, err, same = convert(early(7), *labels, *halves)
    assert code == 0, err
    np.testing.assert_allclose(classify(same), classify(target), atol=1e-6)


def test_operations_that_no_version_has_are_no_damage(convert):
    model = early(1)
    model.graph.node[5].op_type = "FC"
    code, _, err, _ = convert(model, *USUAL)
    assert code == 1
    assert "was written before ONNX 1.2 (opset 1)" in err
    assert "export the model again" in err


def test_operations_too_new_for_old_boards_are_told(convert):
    model = network()
    assert "TensorRT 8" not in convert(model, *USUAL)[1]
    model.opset_import[0].version = 20
    code, out, err, _ = convert(model, *USUAL)
    assert code == 0, err
    assert "operations of version 20; TensorRT 8 reads up to 17" in out
    assert "opset_version=17" in out
