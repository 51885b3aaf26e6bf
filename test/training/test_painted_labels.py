# SPDX-License-Identifier: Apache-2.0
"""The last training phase of the decision network: its crops, and what it leaves unchanged."""

import copy

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

import torch

from training import painted_labels
from training.painted_labels import (
    BACKGROUND,
    INCORRECTLY,
    PAINTED,
    REAL,
    Crops,
    answers,
    between,
    cut_crops,
    teach,
)
from training.two_stage.decision_network import DecisionNetwork
from training.two_stage.photographs import Photograph

SIDE = 32


@pytest.fixture
def photograph(tmp_path):
    """Noise with a bare face, a masked one, and one to ignore."""
    path = tmp_path / "noise.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8))
    boxes = np.array([[10, 10, 50, 60], [60, 20, 100, 70], [110, 10, 150, 60]], np.float32)
    return Photograph(path, "some", boxes, np.array([1, 0, 3], np.int8))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DecisionNetwork(SIDE, (4, 4, 4, 4), (0, 0, 0, 0), 2, 4).eval()


def noise_crops(count=24):
    rng = np.random.default_rng(1)
    return Crops(
        rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8),
        np.full(count, INCORRECTLY),
        np.arange(count) % 3,
    )


def test_each_face_gives_real_crops_and_bare_faces_painted_ones_as_well(photograph):
    crops = cut_crops([photograph] * 5, SIDE, 0.25, np.random.default_rng(0))
    assert crops.pixels.shape == (len(crops.labels), SIDE, SIDE, 3)
    assert (crops.kinds == REAL).sum() == 5 * 2 * 2
    assert (crops.kinds == BACKGROUND).sum() == 5 * 2
    assert set(crops.labels[crops.kinds == PAINTED].tolist()) <= {0, INCORRECTLY}
    assert (crops.labels[crops.kinds == PAINTED] == INCORRECTLY).any()


def test_a_photograph_in_doubt_teaches_nothing(photograph):
    doubtful = Photograph(photograph.path, "some", photograph.boxes, photograph.kinds, suspect=True)
    rng = np.random.default_rng(0)
    both = cut_crops([photograph, doubtful], SIDE, 0.25, rng)
    assert (both.kinds == REAL).sum() == 4


def test_painted_labels_are_learned_and_the_given_network_stays(network):
    crops = noise_crops()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    painted = crops.pixels[crops.kinds == PAINTED]
    after = teach(network, crops, np.random.default_rng(0), steps=40)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    old, new = (
        answers(net, painted)["labels"].softmax(1)[:, INCORRECTLY] for net in (network, after)
    )
    assert new.mean() > old.mean()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_weights_lie_between(network, share):
    torch.manual_seed(1)
    other = DecisionNetwork(SIDE, (4, 4, 4, 4), (0, 0, 0, 0), 2, 4).eval()
    mixed = between(network, other, share)
    for value, start, end in zip(
        mixed.parameters(), network.parameters(), other.parameters(), strict=True
    ):
        torch.testing.assert_close(value, start + share * (end - start))


def test_the_phase_starts_from_the_mean_of_all_cycles(network, tmp_path, monkeypatch):
    later = {name: value + 1 for name, value in network.state_dict().items()}
    checkpoint = tmp_path / "decision.ckpt"
    torch.save({"result": network.state_dict(), "average": later}, checkpoint)
    written = []
    monkeypatch.setattr(painted_labels, "make_network", lambda settings: copy.deepcopy(network))
    monkeypatch.setattr(painted_labels, "read_photographs", lambda folder, split: [])
    monkeypatch.setattr(painted_labels, "cut_crops", lambda *_: None)
    monkeypatch.setattr(painted_labels, "teach", lambda before, *_: before)
    monkeypatch.setattr(painted_labels, "write_network", lambda net, *_: written.append(net))
    assert painted_labels.main(["--data", str(tmp_path), "--checkpoint", str(checkpoint)]) == 0
    for value, start in zip(written[0].parameters(), network.parameters(), strict=True):
        assert torch.equal(value, start)
