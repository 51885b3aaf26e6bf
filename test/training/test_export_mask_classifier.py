# SPDX-License-Identifier: Apache-2.0
"""The trained network as an ONNX file; needs the extra `train`."""

import json

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
onnx = pytest.importorskip("onnx", reason="needs the extra `train`")

from training.export_mask_classifier import export_classifier  # noqa: E402
from training.mask_network import MaskNetwork, fit_temperature  # noqa: E402
from training.onnx_writer import OPSET  # noqa: E402

TEMPERATURE = 1.7


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = MaskNetwork([4, 8], [1, 1], label_count=3)
    crops = torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8)
    for _ in range(20):
        network(crops)
    return network.eval()


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_classifier(
        network,
        path,
        crop_size=32,
        temperature=TEMPERATURE,
        labels=["a", "b", "c"],
        margin=0.25,
    )
    return path


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_file_computes_what_the_network_computes(network, path, count):
    crops = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        expected = torch.softmax(network(torch.from_numpy(crops)) / TEMPERATURE, dim=1).numpy()
    (found,) = onnxruntime.InferenceSession(path).run(["probabilities"], {"crops": crops})
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_folding_leaves_no_batch_normalisation(path):
    model = onnx.load(path)
    assert model.opset_import[0].version == OPSET
    assert {node.op_type for node in model.graph.node} == {
        *("Cast", "Transpose", "Conv", "Relu", "Add", "GlobalAveragePool", "Flatten", "Softmax")
    }


def test_the_metadata_say_how_to_feed_it(path):
    metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert json.loads(metadata["labels"]) == ["a", "b", "c"]
    assert float(metadata["margin"]) == 0.25
    assert metadata["license"] == "Apache-2.0"


def test_the_fitted_temperature_undoes_a_scale_of_the_logits():
    torch.manual_seed(0)
    logits = torch.randn(5000, 3) * 2
    labels = torch.distributions.Categorical(logits=logits).sample()
    assert fit_temperature(logits * 4, labels)[0] == pytest.approx(4.0, rel=0.1)
