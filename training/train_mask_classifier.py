"""Train the mask classifier and export it: python -m training.train_mask_classifier --data DIR.

Writes a checkpoint after each epoch and carries on from it when started again; then
models/mask_classifier.onnx, and prints how good it is on the validation split. All chance
comes from the seed, so a resumed run equals an uninterrupted one on the same machine.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mask_detector_ros.errors import MaskDetectorError, ModelError
from training.augment import training_crop
from training.evaluate_mask_classifier import evaluation_crops, format_report
from training.export_onnx import export_onnx
from training.face_data import LABELS, FacePatch, FaceRow, cut_patch, read_faces, read_image
from training.mask_network import MaskNetwork, fit_temperature

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS_FILE = Path(__file__).with_name("mask_classifier.yaml")


@dataclass(frozen=True)
class Settings:
    """What mask_classifier.yaml holds; the file explains each."""

    seed: int
    crop_size: int
    margin: float
    widths: list[int]
    blocks: list[int]
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
    synthetic_mask_share: float


def read_settings(path: Path) -> Settings:
    """The settings in a YAML file.

    Raises:
        TypeError: a setting is missing or unknown.
    """
    return Settings(**yaml.safe_load(path.read_text()))


def draw_epoch(rows: list[FaceRow], settings: Settings, epoch: int) -> NDArray[np.int64]:
    """Indices of the rows of one epoch, classes in their shares."""
    labels = np.array([row.label for row in rows])
    weights = np.array([settings.suspect_weight if row.suspect else 1.0 for row in rows])
    for label, share in enumerate(settings.class_shares):
        weights[labels == label] *= share / weights[labels == label].sum()
    rng = np.random.default_rng((settings.seed, epoch))
    return rng.choice(len(rows), settings.samples_per_epoch, p=weights / weights.sum())


class EpochCrops(Dataset[tuple[Tensor, int]]):
    """The augmented crops of one epoch; each depends only on seed, epoch and position."""

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


class Trainer:
    """The network, its running mean, and the optimizer, on one device."""

    def __init__(self, settings: Settings, device: str) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.network = MaskNetwork(
            settings.widths, settings.blocks, len(LABELS), settings.dropout
        ).to(device)
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(settings.weight_average),
            use_buffers=True,
        )
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
        )
        self.epoch = 0

    def run_epoch(self, patches: list[FacePatch], rows: list[FaceRow], workers: int) -> float:
        """Train for one epoch; returns the mean loss."""
        settings = self.settings
        torch.manual_seed(settings.seed * 1000 + self.epoch)
        drawn = draw_epoch(rows, settings, self.epoch)
        loader = DataLoader(
            EpochCrops(patches, drawn, settings, self.epoch),
            batch_size=settings.batch_size,
            drop_last=True,
            num_workers=workers,
        )
        self.network.train()
        losses = []
        for batch, (crops, labels) in enumerate(loader):
            rate = settings.learning_rate * self._schedule(self.epoch + batch / len(loader))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = functional.cross_entropy(
                self.network(crops.to(self.device)),
                labels.to(self.device),
                label_smoothing=settings.label_smoothing,
            )
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.average.update_parameters(self.network)
            losses.append(loss.detach())
        self.epoch += 1
        return float(torch.stack(losses).mean())

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
        """Write a checkpoint; an interrupted write leaves the old one."""
        state = {
            "settings": asdict(self.settings),
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Carry on from a checkpoint.

        Raises:
            ModelError: it was made with other settings.
        """
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["settings"] != asdict(self.settings):
            raise ModelError(f"{path} was made with other settings; delete it to start anew")
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    @torch.inference_mode()
    def logits(self, crops: NDArray[np.uint8]) -> Tensor:
        """(N, K) logits of the running mean of the network, on the CPU."""
        self.average.eval()
        batches = torch.from_numpy(crops).split(256)
        return torch.cat([self.average(batch.to(self.device)).cpu() for batch in batches])


def read_patches(rows: list[FaceRow]) -> list[FacePatch]:
    """The faces of all rows, each photograph decoded once."""
    by_image: dict[Path, list[int]] = {}
    for index, row in enumerate(rows):
        by_image.setdefault(row.image, []).append(index)
    patches: dict[int, FacePatch] = {}
    for path, indices in tqdm(by_image.items(), "photographs", leave=False):
        image = read_image(path)
        patches.update({index: cut_patch(image, rows[index]) for index in indices})
    return [patches[index] for index in range(len(rows))]


def train(args: argparse.Namespace) -> None:
    """Train, calibrate on the validation split, export, report."""
    settings = read_settings(args.settings)
    trainer = Trainer(settings, args.device)
    if args.checkpoint.is_file():
        trainer.load(args.checkpoint)
    rows = [
        row
        for row in read_faces(args.data, "train")
        if settings.suspect_weight > 0 or not row.suspect
    ]
    val_rows = read_faces(args.data, "val")
    val_crops = evaluation_crops(val_rows, settings.crop_size, settings.margin)
    val_labels = torch.tensor([row.label for row in val_rows])

    epochs = sum(settings.cycles)
    if trainer.epoch < epochs:
        patches = read_patches(rows)
        with tqdm(total=epochs, initial=trainer.epoch, desc="epochs") as progress:
            while trainer.epoch < epochs:
                loss = trainer.run_epoch(patches, rows, args.workers)
                trainer.save(args.checkpoint)
                progress.update()
                accuracy = (trainer.logits(val_crops).argmax(1) == val_labels).float().mean()
                progress.set_postfix(loss=f"{loss:.3f}", val_accuracy=f"{accuracy:.3f}")

    trusted = torch.tensor([not row.suspect for row in val_rows])
    temperature = fit_temperature(trainer.logits(val_crops)[trusted].clone(), val_labels[trusted])
    export_onnx(
        cast(MaskNetwork, trainer.average.module.cpu().eval()),
        args.output,
        crop_size=settings.crop_size,
        temperature=temperature,
        labels=LABELS,
        margin=settings.margin,
        properties={
            "title": "Mask classifier: a small residual network on crops of faces",
            "license": "Apache-2.0",
            "source": "training/train_mask_classifier.py",
        },
    )
    print(f"wrote {args.output}, temperature {temperature:.3f}")
    print(format_report(args.output, val_rows, val_crops))


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv, images/")
    parser.add_argument("--settings", type=Path, default=SETTINGS_FILE)
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "models" / "mask_classifier.onnx"
    )
    parser.add_argument(
        "--checkpoint", type=Path, default=REPOSITORY / "out" / "mask_classifier.ckpt"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--workers", type=int, default=1, help="processes that make crops")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    # Each worker is a core's worth of work already.
    cv2.setNumThreads(1)
    try:
        train(args)
    except MaskDetectorError as error:
        print(f"train_mask_classifier: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
