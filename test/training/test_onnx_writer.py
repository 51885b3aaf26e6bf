# SPDX-License-Identifier: Apache-2.0
"""Shipped networks have no operation that their outputs do not need, and exports are like them."""

from pathlib import Path

import onnx
import pytest

MODELS, TRAINING = (Path(__file__).parents[2] / name for name in ("models", "training"))


def operations(path):
    return sorted(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize(("name", "most"), [("proposal", 87), ("decision", 33)])
def test_the_shipped_networks_are_short(name, most):
    found = operations(MODELS / f"{name}.onnx")
    assert len(found) <= most
    assert not {"Shape", "Gather", "Constant"} & set(found)


def test_an_exported_proposal_network_has_the_operations_of_the_shipped_one(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    from training.two_stage.export_proposal import export_proposal
    from training.two_stage.proposal_network import ProposalNetwork

    network = ProposalNetwork("n")
    network(255 * torch.rand(2, 3, 64, 64))
    path = tmp_path / "proposal.onnx"
    export_proposal(network, path, face_range=(16, 448), operating_point=0.3)
    assert operations(path) == operations(MODELS / path.name)


def test_an_exported_decision_network_has_the_operations_of_the_shipped_one(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    from training.settings_file import read_settings
    from training.two_stage.decision_network import DecisionNetwork
    from training.two_stage.export_decision import Calibration, export_decision
    from training.two_stage.training_settings import DecisionSettings

    settings = read_settings(DecisionSettings, TRAINING / "decision.yaml")
    size = settings.crop_size
    network = DecisionNetwork(size, **settings.shape)
    network(255 * torch.rand(2, 3, size, size))
    path = tmp_path / "decision.onnx"
    export_decision(network, path, crop_size=size, margin=0.1, calibration=Calibration())
    assert operations(path) == operations(MODELS / path.name)
