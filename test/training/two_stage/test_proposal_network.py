# SPDX-License-Identifier: Apache-2.0
"""The proposal network, its published weights, and its file."""

import json
import math

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from mask_detector_ros.errors import ModelError  # noqa: E402
from training.two_stage.export_proposal import export_proposal  # noqa: E402
from training.two_stage.proposal_network import (  # noqa: E402
    ProposalNetwork,
    decode_boxes,
    interpolate_weights,
    load_published,
    make_priors,
)


def random_network(variant="n"):
    torch.manual_seed(0)
    network = ProposalNetwork(variant).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def test_one_row_a_prior_of_all_strides():
    outputs = random_network()(torch.zeros(2, 3, 64, 96))
    count = 8 * 12 + 4 * 6 + 2 * 3
    assert {name: value.shape for name, value in outputs.items()} == {
        "cls": (2, count, 1),
        "obj": (2, count, 1),
        "bbox": (2, count, 4),
        "kps": (2, count, 10),
    }
    assert make_priors(64, 96).shape == (count, 3)


def test_a_cell_s_box_lies_about_its_corner_in_strides():
    priors = torch.tensor([[16.0, 8.0, 8.0]])
    box = decode_boxes(torch.tensor([[0.5, 1.0, math.log(2), math.log(4)]]), priors)
    assert box[0].tolist() == pytest.approx([12, 0, 28, 32])


def test_an_unknown_variant_names_the_known_ones():
    with pytest.raises(ModelError, match="none of n, s"):
        ProposalNetwork("xl")


def test_interpolated_weights_lie_between_their_ends():
    start, end = random_network().state_dict(), random_network().state_dict()
    end = {k: v + 2 if v.is_floating_point() else v for k, v in end.items()}
    middle = interpolate_weights(start, end, 0.25)
    name = "backbone.model0.conv1.weight"
    assert torch.allclose(middle[name], start[name] + 0.5)
    assert torch.equal(interpolate_weights(start, end, 0.0)[name], start[name])


def test_published_weights_are_read_as_they_are(tmp_path):
    network = random_network("s")
    torch.save({"state_dict": network.state_dict(), "meta": {}}, tmp_path / "yunet_s.pth")
    loaded = load_published(tmp_path / "yunet_s.pth", "s").state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in network.state_dict().items())
    with pytest.raises(ModelError, match="does not hold the weights of variant 'n'"):
        load_published(tmp_path / "yunet_s.pth", "n")


def test_a_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(ModelError, match=r"weights/yunet_n\.pth"):
        load_published(tmp_path / "none.pth", "n")


@pytest.mark.parametrize("variant", ["n", "s"])
@pytest.mark.parametrize("size", [(64, 96), (96, 32)])
def test_the_file_computes_what_the_network_does(tmp_path, variant, size):
    network = random_network(variant)
    # Operating point 0.6 is the default threshold itself: scores stay.
    export_proposal(
        network,
        tmp_path / "proposal.onnx",
        face_range=(16, 448),
        operating_point=0.6,
    )
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "proposal.onnx")
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"images": frames}), strict=True))
    with torch.no_grad():
        wanted = network(torch.from_numpy(frames).permute(0, 3, 1, 2).float())
    scores = (wanted["cls"].sigmoid() * wanted["obj"].sigmoid()).sqrt()[..., 0]
    joined = np.concatenate([found[f"scores_{s}"] for s in (8, 16, 32)], axis=1)
    np.testing.assert_allclose(joined, scores.numpy(), atol=1e-4)
    boxes = np.concatenate([found[f"boxes_{s}"] for s in (8, 16, 32)], axis=1)
    np.testing.assert_allclose(boxes, wanted["bbox"].numpy(), atol=1e-3)


def test_the_operating_point_becomes_the_default_threshold(tmp_path):
    network = random_network()
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    found = {}
    for point in (0.6, 0.2):
        path = tmp_path / f"{point}.onnx"
        export_proposal(network, path, face_range=(16, 448), operating_point=point)
        session = onnxruntime.InferenceSession(path)
        found[point] = session.run(["scores_8"], {"images": frames})[0]
    np.testing.assert_allclose(found[0.2], found[0.6] ** (math.log(0.6) / math.log(0.2)), rtol=1e-4)


def test_the_file_says_how_to_feed_it(tmp_path):
    path = tmp_path / "proposal.onnx"
    export_proposal(
        random_network(),
        path,
        face_range=(16, 448),
        operating_point=0.2,
    )
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["strides"]) == [8, 16, 32]
    assert (metadata["smallest_face"], metadata["largest_face"]) == ("16", "448")
    assert metadata["license"] == "Apache-2.0"
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
