"""What is put behind a network equals what the original's values are turned into."""

import numpy as np
import pytest

from convert_to_trt.heads import require_probabilities, to_probabilities
from mask_detector_ros.errors import ModelError

onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")
from onnx import TensorProto, helper  # noqa: E402

from convert_to_trt.heads import append_head  # noqa: E402
from mask_detector_ros.inference import create_session  # noqa: E402


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("logits", [False, True], ids=["probabilities", "logits"])
def test_the_head_in_the_file_computes_the_same_as_the_one_for_the_original(columns, logits):
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns])
        for name in ("values", "out")
    ]
    node = helper.make_node("Identity", ["values"], ["out"])
    graph = helper.make_graph([node], "network", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    append_head(model, columns, logits)
    onnx.checker.check_model(model)
    values = np.random.default_rng(0).uniform(0, 1, (5, columns)).astype(np.float32)
    found = create_session(model.SerializeToString(), "head").run(values=values)["probabilities"]
    np.testing.assert_allclose(found, to_probabilities(values, logits), atol=1e-6)


def test_one_output_is_the_probability_of_the_second_label():
    np.testing.assert_allclose(
        to_probabilities(np.float32([[0.9]]), False), [[0.1, 0.9]], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [([np.nan, 1], "not finite"), ([-3, 4], "--logits"), ([0.7, 0.7], "do not add up to 1")],
)
def test_values_that_are_no_probabilities_are_refused(row, reason):
    with pytest.raises(ModelError, match=reason):
        require_probabilities(np.float32([row]), "mask.h5")
