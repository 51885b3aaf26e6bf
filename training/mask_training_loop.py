# SPDX-License-Identifier: Apache-2.0
"""Training loop of the mask classifier and its teacher."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from mask_detector_ros.errors import ModelError
from training.checkpoints import load_training, save_training
from training.mask_augmentation import training_crop
from training.mask_data import LABELS, FacePatch, FaceRow
from training.mask_network import MaskNetwork
from training.mask_teacher import Teacher, TeacherNetwork
from training.two_stage.training_run import parameter_groups


@dataclass(frozen=True)
class Settings:
    """The settings of the mask classifier's training loop, from mask_classifier.yaml, which
    explains each."""

    network: str
    seed: int
    crop_size: int
    margin: float
    widths: list[int]
    blocks: list[int]
    teacher_share: float
    cycles: list[int]
    batch_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    dropout: float
    weight_average: float
    suspect_weight: float
    class_shares: list[float]
    samples_per_epoch: int
    passes: int
    synthetic_mask_share: float
    label_biases: list[float]


def draw_epoch(rows: list[FaceRow], settings: Settings, epoch: int) -> NDArray[np.int64]:
    """Draw the row indices of one epoch of the mask classifier's training, with the configured
    share of each class."""
    labels = np.array([row.label for row in rows])
    weights = np.array([settings.suspect_weight if row.suspect else 1.0 for row in rows])
    for label, share in enumerate(settings.class_shares):
        weights[labels == label] *= share / weights[labels == label].sum()
    rng = np.random.default_rng((settings.seed, epoch))
    return rng.choice(len(rows), settings.samples_per_epoch, p=weights / weights.sum())


class EpochCrops(Dataset[tuple[Tensor, int]]):
    """The augmented crops of one epoch of the mask classifier's training; each depends only on the
    seed, the epoch and its position."""

    def __init__(
        self, patches: list[FacePatch], drawn: NDArray[np.int64], settings: Settings, epoch: int
    ) -> None:
        self._patches, self._drawn, self._settings, self._epoch = patches, drawn, settings, epoch

    def __len__(self) -> int:
        return len(self._drawn)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        crop, label = training_crop(
            self._patches[self._drawn[position]],
            np.random.default_rng((self._settings.seed, self._epoch, position)),
            size=self._settings.crop_size,
            margin=self._settings.margin,
            synthetic_mask_share=self._settings.synthetic_mask_share,
        )
        return torch.from_numpy(crop), label


def vary(crops: Tensor) -> Tensor:
    """Vary (N, S, S, 3) uint8 crops that the mask classifier's training reuses: mirror, enlarge
    slightly, change the light."""
    side = crops.shape[1]
    window = int(torch.randint(round(0.9 * side), side + 1, ()))
    top, left = torch.randint(0, side - window + 1, (2,)).tolist()
    pixels = crops[:, top : top + window, left : left + window].permute(0, 3, 1, 2).float()
    pixels = functional.interpolate(pixels, (side, side), mode="bilinear", antialias=False)
    mirrored = torch.rand(len(pixels), 1, 1, 1) < 0.5
    pixels = torch.where(mirrored, pixels.flip(3), pixels)
    gain = 1 + 0.12 * torch.randn(len(pixels), 1, 1, 1) + 0.04 * torch.randn(len(pixels), 3, 1, 1)
    pixels = pixels * gain + 8 * torch.randn(len(pixels), 1, 1, 1)
    return pixels.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def make_network(settings: Settings) -> MaskNetwork | TeacherNetwork:
    """Make the mask network (or teacher) named in the training settings, not yet trained on faces.

    Raises:
        ModelError: there is no network of that name.
    """
    if settings.network == "residual":
        return MaskNetwork(settings.widths, settings.blocks, len(LABELS), settings.dropout)
    if settings.network == "efficientnet_lite0":
        return TeacherNetwork(len(LABELS))
    raise ModelError(f"network {settings.network!r} is neither residual nor efficientnet_lite0")


class Trainer:
    """Trains the mask classifier: a network, its weight average, and the optimiser, on one device.

    Args:
        settings: settings of the training.
        device: torch device.
        teacher: gives targets for crops; used if `teacher_share` is above 0.
    """

    def __init__(self, settings: Settings, device: str, teacher: Teacher | None = None) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.teacher = settings, device, teacher
        self.network = make_network(settings).to(device)
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(settings.weight_average),
            use_buffers=True,
        )
        groups = parameter_groups(self.network, settings.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
        self.epoch = 0

    def run_epoch(self, patches: list[FacePatch], rows: list[FaceRow], workers: int) -> float:
        """Train the mask classifier for one epoch; return the mean loss."""
        settings = self.settings
        torch.manual_seed(settings.seed * 1000 + self.epoch)
        drawn = draw_epoch(rows, settings, self.epoch)
        loader = DataLoader(
            EpochCrops(patches, drawn, settings, self.epoch),
            batch_size=settings.batch_size,
            drop_last=True,
            num_workers=workers,
        )
        # Make all crops of the epoch at once: the teacher, which costs more than the network, then
        # processes each only once, however often the network sees it.
        views = [(crops, self._targets(crops, labels)) for crops, labels in loader]
        self.network.train()
        losses = []
        steps = settings.passes * len(views)
        for step in range(steps):
            if step % len(views) == 0:
                order = torch.randperm(len(views))
            crops, targets = views[order[step % len(views)]]
            if step >= len(views):
                crops = vary(crops)
            rate = settings.learning_rate * self._schedule(self.epoch + step / steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            outputs = self.network(crops.to(self.device))
            loss = functional.cross_entropy(outputs, targets.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.average.update_parameters(self.network)
            losses.append(loss.detach())
        self.epoch += 1
        return float(torch.stack(losses).mean())

    def _targets(self, crops: Tensor, labels: Tensor) -> Tensor:
        """(N, K) target probabilities."""
        smoothing, share = self.settings.label_smoothing, self.settings.teacher_share
        certain = functional.one_hot(labels, len(LABELS)).float()
        targets = (1 - smoothing) * certain + smoothing / len(LABELS)
        if self.teacher is None:
            return targets
        return (1 - share) * targets + share * self.teacher(crops.numpy())

    def _schedule(self, epoch: float) -> float:
        """Cosine cycles with warm restarts (https://arxiv.org/abs/1608.03983)."""
        peak = 1.0
        for length in self.settings.cycles:
            if epoch < length:
                warm_up = min(1.0, epoch + 0.02)
                return peak * warm_up * 0.5 * (1 + math.cos(math.pi * epoch / length))
            epoch -= length
            peak /= 2
        return 0.0

    def save(self, path: Path) -> None:
        """Write a checkpoint of the mask classifier's training."""
        save_training(path, self, epoch=self.epoch)

    def load(self, path: Path) -> None:
        """Resume the mask classifier's training from a checkpoint.

        Raises:
            ModelError: it was made with other settings.
        """
        self.epoch = load_training(path, self, self.device)["epoch"]

    @torch.inference_mode()
    def logits(self, crops: NDArray[np.uint8]) -> Tensor:
        """(N, K) logits of the averaged mask network in training, on the CPU."""
        self.average.eval()
        batches = torch.from_numpy(crops).split(256)
        return torch.cat([self.average(batch.to(self.device)).cpu() for batch in batches])
