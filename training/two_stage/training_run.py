# SPDX-License-Identifier: Apache-2.0
"""TrainingRun: the common parts of both two-stage trainings: precision, weight averaging, resumable
checkpoints."""

import argparse
import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from training.checkpoints import load_training, save_training
from training.two_stage.training_settings import RunSettings

Batch = TypeVar("Batch")

LAYOUT = torch.channels_last
"""Memory format of pixels and weights for fast convolutions."""


def freeze_statistics(network: nn.Module) -> None:
    """Set a training run's network to training mode, but freeze the statistics of batch
    normalisation."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@contextlib.contextmanager
def mixed_precision(device: torch.device) -> Iterator[None]:
    """Autocast a training run to bfloat16 if the device is fast at it."""
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    with torch.autocast(device.type, torch.bfloat16, enabled=fast):
        yield


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The optimiser's parameter groups of a training run: weights, with weight decay, and the rest,
    without."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def cosine(step: int, steps: int, warm_up: int) -> float:
    """Learning rate of a training run as a fraction of its peak (Loshchilov and Hutter, 2017,
    https://arxiv.org/abs/1608.03983)."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a training run to a command."""
    parser.add_argument("--save-every", type=int, default=200, help="steps between two checkpoints")
    parser.add_argument(
        "--loaders",
        type=int,
        default=0,
        help="processes that cut views ahead of the training; one or two pay on a CPU",
    )


def seed_step(seed: int, step: int) -> None:
    """Seed torch's random generator for a step of a training run."""
    torch.manual_seed(seed * 1_000_003 + step)


class _Batches(Dataset[Batch]):
    def __init__(self, draw: Callable[[int], Batch], seed: int) -> None:
        self._draw, self._seed = draw, seed

    def __getitem__(self, step: int) -> Batch:
        seed_step(self._seed, step)
        return self._draw(step)


class TrainingRun:
    """A training run: a network, the running average of its weights, and an optimiser.

    Training has cycles of falling learning rate. Each starts from the average of the previous cycle
    at half its rate; the result is the mean of the weights at the ends of all cycles (Izmailov et
    al., 2018, https://arxiv.org/abs/1803.05407).

    The seed and the number of a step determine its randomness, so that a resumed run equals an
    uninterrupted one.

    Args:
        network: the network.
        settings: settings of the training, which a checkpoint must match.
        device: the device to train on.
        freeze: whether to freeze the statistics of batch normalisation.
    """

    def __init__(
        self, network: nn.Module, settings: RunSettings, device: str, freeze: bool
    ) -> None:
        network.to(device, memory_format=LAYOUT)  # type: ignore[call-overload]
        self.network, self.settings, self._freeze = network, settings, freeze
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.optimizer = self._make_optimizer()
        self.step = 0
        self._ends: list[dict[str, Tensor]] = []

    @property
    def steps(self) -> int:
        """Total number of steps of the training run."""
        return sum(self.settings.cycles)

    def result(self) -> dict[str, Tensor]:
        """The result of the training run: the mean of the weights at the ends of the cycles."""
        ends = self._ends or [self.average.state_dict()]
        return {
            name: torch.stack([end[name] for end in ends]).mean(0)
            if value.is_floating_point()
            else value
            for name, value in ends[-1].items()
        }

    def _make_optimizer(self) -> torch.optim.Optimizer:
        groups = parameter_groups(self.network, self.settings.weight_decay)
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate)

    def _rate(self) -> float:
        """The learning rate of the next step."""
        start, peak = 0, self.settings.learning_rate
        for length in self.settings.cycles:
            if self.step < start + length:
                return peak * cosine(
                    self.step - start, length, min(self.settings.warm_up, length // 10)
                )
            start, peak = start + length, peak / 2
        return 0.0

    def _end_cycle(self) -> None:
        """Keep the running average and continue from it."""
        self._ends.append({n: v.clone() for n, v in self.average.state_dict().items()})
        self.network.load_state_dict(self._ends[-1])
        self.optimizer = self._make_optimizer()

    def run(
        self,
        draw: Callable[[int], Batch],
        loss_of_step: Callable[[int, Batch], Tensor],
        checkpoint: Path,
        every: int,
        loaders: int = 0,
    ) -> None:
        """Run the remaining steps of the training run.

        Args:
            draw: draws the batch of the step with this number, with torch's random generator.
            loss_of_step: computes the loss of the step on its batch.
            checkpoint: file to resume from if it exists; written every `every` steps and after the
                last.
            every: steps between two checkpoints.
            loaders: number of processes that draw batches ahead; with 0 this one draws them.

        Raises:
            ModelError: the checkpoint was made with other settings.
        """
        if checkpoint.is_file():
            self.load(checkpoint)
        if self._freeze:
            freeze_statistics(self.network)
        else:
            self.network.train()
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        batches: DataLoader[Batch] = DataLoader(
            _Batches(draw, self.settings.seed),
            batch_size=None,
            sampler=range(self.step, self.steps),
            num_workers=loaders,
        )
        for batch in batches:
            seed_step(self.settings.seed, self.step)
            rate = self._rate()
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = loss_of_step(self.step, batch)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, self.settings.gradient_limit)
            self.optimizer.step()
            self._update_average()
            self.step += 1
            if self.step in accumulate(self.settings.cycles):
                self._end_cycle()
            if self.step % every == 0 or self.step == self.steps:
                print(f"step {self.step}: loss {float(loss.detach()):.3f}", flush=True)
                self.save(checkpoint)

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early on, average over few steps, so that the start does not dominate.
        decay = min(self.settings.weight_average, (1 + self.step) / (10 + self.step))
        averaged, current = self.average.state_dict(), self.network.state_dict()
        names = [n for n, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_([averaged[n] for n in names], [current[n] for n in names], 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint of the training run."""
        save_training(path, self, step=self.step, ends=self._ends, result=self.result())

    def load(self, path: Path) -> None:
        """Resume the training run from a checkpoint.

        Raises:
            ModelError: it was made with other settings.
        """
        state = load_training(path, self)
        self.step, self._ends = state["step"], state["ends"]
