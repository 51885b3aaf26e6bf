# SPDX-License-Identifier: Apache-2.0
"""Train the proposal network and export it: python -m training.train_proposal --data DIR.

Fine-tunes the published YuNet (--published gives its weights; see training/README.md) on faces with
and without masks. It writes checkpoints and resumes from them, then writes models/proposal.onnx
with weights interpolated between the published and the fine-tuned ones. The seed determines all
randomness.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.mask_augmentation import WITHOUT_MASK
from training.mtcnn_augmentation import Image, paint_masks
from training.settings_file import read_settings
from training.training_command import OUT, REPOSITORY, run_training, training_parser
from training.two_stage.export_proposal import export_proposal
from training.two_stage.image_store import ImageStore, load_store
from training.two_stage.photographs import Photograph, read_photographs
from training.two_stage.proposal_loss import proposal_loss
from training.two_stage.proposal_network import (
    ProposalNetwork,
    interpolate_weights,
    load_published,
    make_priors,
)
from training.two_stage.proposal_views import ViewMaker, Views
from training.two_stage.training_run import (
    LAYOUT,
    TrainingRun,
    add_run_options,
    mixed_precision,
)
from training.two_stage.training_settings import ProposalSettings

SETTINGS_FILE = Path(__file__).with_name("proposal.yaml")


def detection_photographs(folder: Path, left_out: list[str]) -> list[Photograph]:
    """The photographs to train the proposal network on: those of split `train` whose boxes are
    ground truth for a detector."""
    photographs = read_photographs(folder, "train", left_out)
    return [photo for photo in photographs if not photo.is_labels_only]


def load_views(folder: Path, settings: ProposalSettings, workers: int) -> ImageStore:
    """Load the images to train the proposal network on: photographs, and copies with painted
    masks."""
    photographs = detection_photographs(folder, settings.left_out)
    bare = [i for i, p in enumerate(photographs) if (p.kinds == WITHOUT_MASK).any()]
    return load_store(
        photographs,
        sorted({p.source for p in photographs}),
        painted=bare,
        painter=partial(_paint, settings.painted_share),
        seed=settings.seed,
        workers=workers,
    )


def _paint(
    share: float, photo: Photograph, image: Image, rng: np.random.Generator
) -> tuple[Image, NDArray[np.int64]]:
    return paint_masks(image, photo.boxes, photo.kinds.astype(np.int64), share, rng)


def train(args: argparse.Namespace) -> None:
    """Train the proposal network, interpolate its weights, export it."""
    settings = read_settings(ProposalSettings, args.settings)
    published = load_published(args.published / f"yunet_{settings.variant}.pth", settings.variant)
    start = {name: value.clone() for name, value in published.state_dict().items()}
    maker = ViewMaker(load_views(args.data, settings, args.workers).to(args.device), settings)
    priors = {side: make_priors(side, side, args.device) for side in settings.view_sides}
    network = ProposalNetwork(settings.variant)
    network.load_state_dict(start)
    published.to(args.device).eval().requires_grad_(False)
    run = TrainingRun(network, settings, args.device, freeze=True)

    def draw(step: int) -> Views:
        turn = step % len(settings.view_sides)
        return maker.draw(settings.batch_sizes[turn], settings.view_sides[turn])

    def loss(step: int, views: Views) -> Tensor:
        pixels = views.pixels.contiguous(memory_format=LAYOUT)
        with mixed_precision(torch.device(args.device)):
            outputs = run.network(pixels)
            with torch.no_grad():
                known = published(pixels)
        return proposal_loss(outputs, known, priors[pixels.shape[-1]], views, settings)

    run.run(draw, loss, args.checkpoint, args.save_every, args.loaders)
    tuned = {name: value.cpu() for name, value in run.result().items()}
    network = ProposalNetwork(settings.variant).eval()
    network.load_state_dict(interpolate_weights(start, tuned, settings.interpolation))
    export_proposal(
        network,
        args.output,
        face_range=(settings.smallest_face, settings.largest_face),
        operating_point=settings.operating_point,
    )
    print(f"wrote {args.output}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = training_parser(__doc__, SETTINGS_FILE, REPOSITORY / "models" / "proposal.onnx")
    parser.add_argument("--published", type=Path, default=OUT / "yunet")
    parser.add_argument("--checkpoint", type=Path, default=OUT / "proposal.ckpt")
    add_run_options(parser)
    return run_training(train, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
