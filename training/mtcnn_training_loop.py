# SPDX-License-Identifier: Apache-2.0
"""MTCNN's training loop: train one network of the cascade on its samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.checkpoints import save_checkpoint
from training.mtcnn_data import NEGATIVE, PART, POSITIVE, Samples
from training.mtcnn_networks import CascadeNetwork
from training.mtcnn_settings import Settings
from training.two_stage.decision_loss import predicted_boxes
from training.two_stage.view_geometry import areas, intersections, overlaps

MIRRORED = [1, 0, 2, 4, 3, 6, 5, 7, 9, 8]
"""Permutation of the landmark coordinates in a mirrored face: eyes, nose, mouth corners."""


def draw_epoch(samples: Samples, settings: Settings, count: int, seed: int) -> NDArray[np.int64]:
    """Draw the sample indices of one epoch of MTCNN's training, with the configured shares of kinds
    and mask states."""
    weights = np.zeros(len(samples))
    for kind, share in zip((NEGATIVE, PART, POSITIVE), settings.kind_shares, strict=True):
        for label, part in [(-1, 1.0)] if kind == NEGATIVE else enumerate(settings.label_shares):
            rows = (samples.kinds == kind) & (samples.labels == label)
            weights[rows] = share * part / max(rows.sum(), 1)
    return np.random.default_rng(seed).choice(len(samples), count, p=weights / weights.sum())


@dataclass
class Batch:
    """A batch of MTCNN's training: `pixels` (N, 3, side, side) float32, the others as in
    `Samples`."""

    pixels: Tensor
    kinds: Tensor
    offsets: Tensor
    landmarks: Tensor


def take_batch(samples: Samples, rows: NDArray[np.int64]) -> Batch:
    """Take a batch of MTCNN's training samples as tensors on the CPU."""
    return Batch(
        torch.from_numpy(samples.crops[rows]).permute(0, 3, 1, 2).float(),
        torch.from_numpy(samples.kinds[rows]),
        torch.from_numpy(samples.offsets[rows]),
        torch.from_numpy(samples.landmarks[rows]),
    )


def mirror(batch: Batch, chosen: Tensor) -> Batch:
    """Mirror the chosen (N,) samples of an MTCNN training batch, left to right."""
    offsets = batch.offsets[:, [2, 1, 0, 3]] * torch.tensor([-1.0, 1.0, -1.0, 1.0])
    landmarks = batch.landmarks[:, MIRRORED].clone()
    landmarks[:, :5] = 1 - landmarks[:, :5]
    row = chosen[:, None]
    return Batch(
        torch.where(row[..., None, None], batch.pixels.flip(3), batch.pixels),
        batch.kinds,
        torch.where(row, offsets, batch.offsets),
        torch.where(row, landmarks, batch.landmarks),
    )


def change_light(pixels: Tensor) -> Tensor:
    """Change brightness, contrast, colour, sharpness and noise of an MTCNN training batch's (N, 3,
    H, W) pixels at random."""
    count, side = len(pixels), pixels.shape[-1]
    coarse = functional.interpolate(
        functional.avg_pool2d(pixels, 2), size=(side, side), mode="bilinear"
    )
    pixels = torch.where(_some(count, 0.2), coarse, pixels)
    pixels = torch.where(_some(count, 0.06), pixels.mean(1, keepdim=True), pixels)
    gain = torch.exp(torch.randn(count, 1, 1, 1) * 0.2) * (1 + torch.randn(count, 3, 1, 1) * 0.05)
    middle = pixels.mean((1, 2, 3), keepdim=True)
    pixels = (pixels - middle) * gain + middle + torch.randn(count, 1, 1, 1) * 20
    noise = torch.randn_like(pixels) * torch.rand(count, 1, 1, 1) * 8
    return torch.where(_some(count, 0.3), pixels + noise, pixels).clamp(0, 255)


def _some(count: int, share: float) -> Tensor:
    return torch.rand(count, 1, 1, 1) < share


def loss_of(outputs: Tensor, batch: Batch, settings: Settings, quality: bool = False) -> Tensor:
    """Loss of an MTCNN training batch: cross-entropy of the hardest samples, plus box loss, plus
    landmark loss if there are landmarks.

    With `quality`, the target score of a sample is the overlap of its predicted box with the face
    (Li et al., 2020, "Generalized Focal Loss", https://arxiv.org/abs/2006.04388): suppression then
    keeps the box that fits best. Without it, samples of parts of faces have no target score.
    """
    face = batch.kinds != NEGATIVE
    wanted, decided = (batch.kinds == POSITIVE).float(), batch.kinds != PART
    if quality:
        low, high = settings.quality_range
        fit = intersection_over_union(outputs[:, 1:5].detach(), batch.offsets)
        wanted = torch.where(face, ((fit - low) / (high - low)).clamp(0, 1), 0.0)
        decided = torch.ones_like(face)
    logits, wanted = outputs[decided, 0], wanted[decided]
    each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    # Subtract the minimum possible loss, so that samples with soft targets are not always the
    # hardest.
    each = each + torch.xlogy(wanted, wanted) + torch.xlogy(1 - wanted, 1 - wanted)
    loss = each.topk(max(1, round(settings.hard_share * len(each)))).values.mean()
    if face.any():
        offsets, target = outputs[face, 1:5], batch.offsets[face]
        loss = loss + settings.offset_weight * functional.smooth_l1_loss(offsets, target, beta=0.05)
        loss = loss + settings.overlap_weight * (1 - generalised_overlap(offsets, target)).mean()
    taught = ~batch.landmarks.isnan().any(1)
    if outputs.shape[1] > 5 and taught.any():
        loss = loss + settings.landmark_weight * functional.smooth_l1_loss(
            outputs[taught, 5:], batch.landmarks[taught], beta=0.02
        )
    return loss


def generalised_overlap(a: Tensor, b: Tensor) -> Tensor:
    """(N,) generalised intersection over union, MTCNN's box loss, of the boxes given by two (N, 4)
    offsets.

    Rezatofighi et al., 2019 (https://arxiv.org/abs/1902.09630): 1 for equal boxes; below 0, down to
    -1, for distant boxes.
    """
    a, b = predicted_boxes(a), predicted_boxes(b)
    low, high = torch.minimum(a, b)[:, :2], torch.maximum(a, b)[:, 2:]
    hull = (high - low).clamp(min=0).prod(dim=1)
    shared = intersections(a[:, None], b[:, None])[:, 0, 0]
    union = (areas(a) + areas(b) - shared).clamp(min=1e-6)
    overlap: Tensor = shared / union - (hull - union) / hull.clamp(min=1e-6)
    return overlap


def intersection_over_union(a: Tensor, b: Tensor) -> Tensor:
    """(N,) intersection over union, in MTCNN's training loop, of the boxes given by two (N, 4)
    offsets."""
    return overlaps(predicted_boxes(a)[:, None], predicted_boxes(b)[:, None])[:, 0, 0]


def fine_tune(
    network: CascadeNetwork,
    samples: Samples,
    settings: Settings,
    device: str,
    checkpoint: Path | None = None,
    *,
    quality: bool = False,
) -> CascadeNetwork:
    """Fine-tune one MTCNN network on its samples; return the average of its weights, on the CPU.

    Args:
        network: the network to start from; it is modified.
        samples: the training samples.
        settings: settings of the training.
        device: torch device.
        checkpoint: written after each epoch, and resumed from if it exists; a resumed run ends with
            the same weights as an uninterrupted one.
        quality: whether this is the second phase: `quality_epochs` at half the learning rate, in
            which the score learns how well the box fits.
    """
    name = network.name
    network.to(device, memory_format=torch.channels_last).train()
    count, size = settings.samples_per_epoch[name], settings.batch_size
    epochs, steps = settings.epochs[name], -(-count // size)
    seed, peak = settings.seed, settings.learning_rate[name]
    if quality:
        # Draw other samples than in the first phase.
        seed, epochs, peak = seed + epochs, settings.quality_epochs[name], peak / 2
    optimizer = torch.optim.AdamW(network.parameters(), peak, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.weight_average))
    parts = {"network": network, "average": average, "optimizer": optimizer, "rate": schedule}
    first = _load(checkpoint, parts, device) if checkpoint and checkpoint.is_file() else 0
    with tqdm(
        total=epochs * steps, initial=first * steps, desc=f"{name}: steps", mininterval=1
    ) as progress:
        for epoch in range(first, epochs):
            torch.manual_seed(seed + epoch)
            drawn = draw_epoch(samples, settings, count, seed + epoch)
            for start in range(0, count, size):
                batch = take_batch(samples, drawn[start : start + size])
                batch = mirror(batch, torch.rand(len(batch.kinds)) < 0.5)
                batch.pixels = change_light(batch.pixels)
                outputs = network(batch.pixels.to(device)).cpu()
                loss = loss_of(outputs, batch, settings, quality)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                average.update_parameters(network)
                progress.update()
                if start // size % 20 == 0:
                    progress.set_postfix(
                        epoch=epoch, loss=f"{float(loss.detach()):.3f}", refresh=False
                    )
            if checkpoint:
                states = {part: value.state_dict() for part, value in parts.items()}
                save_checkpoint(checkpoint, (epoch + 1, states))
    return cast(CascadeNetwork, average.module).cpu().eval()


def _load(checkpoint: Path, parts: dict[str, Any], device: str) -> int:
    epoch, states = torch.load(checkpoint, map_location=device, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(states[name])
    return int(epoch)
