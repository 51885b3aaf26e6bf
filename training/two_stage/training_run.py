# SPDX-License-Identifier: Apache-2.0
"""Common parts of both trainings: precision, running mean of weights, resumable checkpoints."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mask_detector_ros.errors import ModelError
from training.checkpoints import write_whole

LAYOUT = torch.channels_last
"""Of pixels and weights in memory: the one in which convolutions are fast."""


def freeze_statistics(network: nn.Module) -> None:
    """Training mode, but with the means and variances of batch normalisation as they are."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@contextlib.contextmanager
def mixed_precision(device: torch.device) -> Iterator[None]:
    """bfloat16 where the device is fast at it."""
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        yield


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights, which decay, and the rest, which does not."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def cosine(step: int, steps: int, warm_up: int) -> float:
    """Share of the peak learning rate (Loshchilov and Hutter, 2017,
    https://arxiv.org/abs/1608.03983)."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


class TrainingRun:
    """A network, the running mean of its weights, and an optimiser, step by step.

    The steps come in cycles of a falling learning rate. Each starts from the running mean of the
    one before, with half its rate; the result is the mean of what all of them ended with (Izmailov
    et al., 2018, https://arxiv.org/abs/1803.05407).

    All chance in a step comes from the seed and the number of the step, so that a resumed run
    goes on as an uninterrupted one.

    Args:
        network: on its device.
        settings: what a checkpoint must have been made with.
        seed: of all chance.
        cycles: the steps of each.
        learning_rate: peak of the first cycle.
        warm_up, weight_decay, gradient_limit: of AdamW.
        weight_average: decay of the running mean, per step.
        freeze: whether the statistics of batch normalisation stay as they are.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: dict[str, Any],
        *,
        seed: int,
        cycles: list[int],
        learning_rate: float,
        warm_up: int,
        weight_decay: float,
        gradient_limit: float,
        weight_average: float,
        freeze: bool,
    ) -> None:
        self.network, self.settings, self.seed, self.cycles = network, settings, seed, cycles
        self._peak, self._warm_up, self._limit = learning_rate, warm_up, gradient_limit
        self._decay, self._freeze = weight_average, freeze
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self._weight_decay = weight_decay
        self.optimizer = self._make_optimizer()
        self.step = 0
        self._ends: list[dict[str, Tensor]] = []

    @property
    def steps(self) -> int:
        """Of all cycles."""
        return sum(self.cycles)

    def result(self) -> dict[str, Tensor]:
        """The mean of the weights that the cycles ended with."""
        ends = self._ends or [self.average.state_dict()]
        return {
            name: torch.stack([end[name] for end in ends]).mean(0)
            if value.is_floating_point()
            else value
            for name, value in ends[-1].items()
        }

    def _make_optimizer(self) -> torch.optim.Optimizer:
        groups = parameter_groups(self.network, self._weight_decay)
        return torch.optim.AdamW(groups, lr=self._peak)

    def _rate(self) -> float:
        """The learning rate of the step to come."""
        start, peak = 0, self._peak
        for length in self.cycles:
            if self.step < start + length:
                return peak * cosine(self.step - start, length, min(self._warm_up, length // 10))
            start, peak = start + length, peak / 2
        return 0.0

    def _end_cycle(self) -> None:
        """Keep the running mean, and go on from it."""
        self._ends.append({n: v.clone() for n, v in self.average.state_dict().items()})
        self.network.load_state_dict(self._ends[-1])
        self.optimizer = self._make_optimizer()

    def run(
        self,
        loss_of_step: Callable[[int], Tensor],
        checkpoint: Path,
        *,
        every: int,
        report: Callable[[int, float], None],
    ) -> None:
        """Take the steps that are left.

        Args:
            loss_of_step: the loss to lower, of the step with that number.
            checkpoint: written every `every` steps and after the last.
            every: see above.
            report: called then with step and loss.
        """
        if self._freeze:
            freeze_statistics(self.network)
        else:
            self.network.train()
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        while self.step < self.steps:
            torch.manual_seed(self.seed * 1_000_003 + self.step)
            rate = self._rate()
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = loss_of_step(self.step)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, self._limit)
            self.optimizer.step()
            self._update_average()
            self.step += 1
            if self.step in accumulate(self.cycles):
                self._end_cycle()
            if self.step % every == 0 or self.step == self.steps:
                report(self.step, float(loss.detach()))
                self.save(checkpoint)

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early on the mean of few steps, not of the start.
        decay = min(self._decay, (1 + self.step) / (10 + self.step))
        averaged, current = self.average.state_dict(), self.network.state_dict()
        names = [n for n, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_([averaged[n] for n in names], [current[n] for n in names], 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint; an interrupted write leaves the old one."""
        state = {
            "settings": self.settings,
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ends": self._ends,
            "result": self.result(),
        }
        write_whole(path, partial(torch.save, state))

    def load(self, path: Path) -> None:
        """Resume from a checkpoint.

        Raises:
            ModelError: it was made with other settings.
        """
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["settings"] != self.settings:
            raise ModelError(f"{path} was made with other settings; delete it to start anew")
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._ends = state["ends"]
