# SPDX-License-Identifier: Apache-2.0
"""Steps, cycles, weight averages and checkpoints of a training run."""

from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from mask_detector_ros.errors import ModelError  # noqa: E402
from training.two_stage.training_run import (  # noqa: E402
    TrainingRun,
    cosine,
    freeze_statistics,
)


@dataclass
class Settings:
    name: str = "test"
    seed: int = 3
    cycles: tuple = (4, 4)
    learning_rate: float = 0.05
    warm_up: int = 1
    weight_decay: float = 0.01
    gradient_limit: float = 5.0
    weight_average: float = 0.9


def make_run(freeze=False, **settings):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    return TrainingRun(network, Settings(**settings), "cpu", freeze)


def take(run, checkpoint, until=None, loaders=0):
    def loss(step, batch):
        if until is not None and step == until:
            raise KeyboardInterrupt
        return (run.network(batch) - 1).square().mean()

    run.run(lambda step: torch.rand(4, 1, 3, 3), loss, checkpoint, 1, loaders)
    return run.result()


@pytest.mark.parametrize("until", [2, 4, 6])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, until):
    whole = take(make_run(), tmp_path / "whole.ckpt")
    with pytest.raises(KeyboardInterrupt):
        take(make_run(), tmp_path / "part.ckpt", until)
    resumed = make_run()
    resumed.load(tmp_path / "part.ckpt")
    assert resumed.step == until
    parts = take(resumed, tmp_path / "part.ckpt")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_result_is_the_mean_of_the_ends_of_the_cycles(tmp_path):
    first = take(make_run(cycles=(4,)), tmp_path / "a.ckpt")
    both = make_run()
    result = take(both, tmp_path / "b.ckpt")
    last = both.average.state_dict()
    assert torch.allclose(result["0.weight"], (first["0.weight"] + last["0.weight"]) / 2)


def test_a_checkpoint_of_other_settings_is_rejected(tmp_path):
    take(make_run(), tmp_path / "a.ckpt")
    with pytest.raises(ModelError, match="other settings"):
        make_run(name="another").load(tmp_path / "a.ckpt")


def test_frozen_statistics_stay_while_weights_move(tmp_path):
    run = make_run(freeze=True)
    before = {n: v.clone() for n, v in run.network.state_dict().items()}
    take(run, tmp_path / "a.ckpt")
    after = run.network.state_dict()
    assert torch.equal(before["1.running_mean"], after["1.running_mean"])
    assert not torch.equal(before["1.weight"], after["1.weight"])


def test_freezing_leaves_other_layers_in_training_mode():
    network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm2d(2))
    freeze_statistics(network)
    assert network[0].training
    assert not network[1].training


def test_the_rate_rises_and_falls_to_nothing():
    rates = [cosine(step, 10, 2) for step in range(11)]
    assert rates[0] < rates[1]
    assert rates[2] == 1
    assert rates[10] == pytest.approx(0)


def test_batches_drawn_ahead_by_other_processes_train_the_same(tmp_path):
    here = take(make_run(), tmp_path / "here.ckpt")
    there = take(make_run(), tmp_path / "there.ckpt", loaders=2)
    assert all(torch.equal(here[name], there[name]) for name in here)
