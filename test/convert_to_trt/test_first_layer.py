# SPDX-License-Identifier: Apache-2.0
"""A first convolution that reads rows of pixels computes what it computed on planes."""

import numpy as np
import onnx
import pytest

from convert_to_trt.first_layer import read_rows
from mask_detector_ros.inference import create_session
from mask_detector_ros.models import find_detector


@pytest.mark.parametrize(
    ("network", "shape"), [("proposal", (1, 64, 96)), ("decision", (2, 80, 80))]
)
def test_it_computes_the_same_without_a_transposition(network, shape):
    model = onnx.load_from_string(find_detector("mtcnn_two_stage")[network])
    (name,) = (tensor.name for tensor in model.graph.input)
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    wanted = create_session(model.SerializeToString(), "planes", "onnxruntime", 1).run(
        **{name: images}
    )
    read_rows(model)
    onnx.checker.check_model(model)
    kinds = [node.op_type for node in model.graph.node[:4]]
    assert kinds == ["Cast", "Reshape", "Unsqueeze", "Conv"]
    found = create_session(model.SerializeToString(), "rows", "onnxruntime", 1).run(
        **{name: images}
    )
    for output, values in wanted.items():
        # ONNX Runtime's sigmoid is coarse far below 0.
        np.testing.assert_allclose(found[output], values, atol=0.1 if "scores_" in output else 1e-4)


def test_another_network_stays_as_it_is():
    model = onnx.load_from_string(find_detector("mtcnn")["rnet"])
    before = model.SerializeToString()
    read_rows(model)
    assert model.SerializeToString() == before
