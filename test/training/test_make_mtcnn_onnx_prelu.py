# SPDX-License-Identifier: Apache-2.0
"""PReLU made of convolutions and ReLU computes what the operator computes."""

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

onnx = pytest.importorskip("onnx")

from training.make_mtcnn_onnx import VECTOR, Chain, pad_channels, pool_first  # noqa: E402

SLOPES = npst.arrays(np.float32, st.integers(1, 20), elements=st.floats(-2, 2, width=32))


def layer(rng, outputs, inputs):
    kernel = rng.normal(0, 0.3, (outputs, inputs, 3, 3)).astype(np.float32)
    return kernel, rng.normal(size=outputs).astype(np.float32)


def run(chain, images):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        chain.nodes,
        "chain",
        [value("images", onnx.TensorProto.FLOAT, images.shape)],
        [value(chain.current, onnx.TensorProto.FLOAT, None)],
        chain.initializers,
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return ort.InferenceSession(model.SerializeToString()).run(None, {"images": images})[0]


def with_operator(first, slope, pool, second, images):
    chain = Chain("images")
    chain.convolve(*first)
    chain.add("PRelu", slope.reshape(-1, 1, 1))
    if pool:
        chain.pool(*pool)
    chain.convolve(*second)
    return run(chain, images)


@settings(deadline=None, max_examples=25)
@given(SLOPES)
def test_a_line_and_a_bend_are_the_operator(slope):
    rng = np.random.default_rng(0)
    first, second = layer(rng, len(slope), 3), layer(rng, 4, len(slope))
    images = rng.normal(size=(2, 3, 12, 13)).astype(np.float32)
    expected = with_operator(first, slope, None, second, images)
    first, slope, second = pad_channels(first, slope, second)
    assert len(slope) % VECTOR == 0
    chain = Chain("images")
    chain.convolve(*first)
    chain.prelu(slope)
    chain.convolve(*second)
    np.testing.assert_allclose(run(chain, images), expected, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(SLOPES)
def test_pooling_first_gives_the_same_for_slopes_of_any_sign_and_size(slope):
    rng = np.random.default_rng(1)
    first, second = layer(rng, len(slope), 3), layer(rng, 4, len(slope))
    images = rng.normal(size=(2, 3, 12, 13)).astype(np.float32)
    expected = with_operator(first, slope, (2, 2), second, images)
    chain = Chain("images")
    chain.convolve(*pool_first(chain, first, slope, (2, 2), second))
    np.testing.assert_allclose(run(chain, images), expected, atol=1e-4)
