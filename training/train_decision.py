# SPDX-License-Identifier: Apache-2.0
"""Train the decision network and export it: python -m training.train_decision --data DIR.

The network learns from labels and from teachers, which must be trained first: `--settings
training/decision_teacher.yaml --output out/decision_teacher.pt`, with other `--seed`s for more than
one. All learn from the output of the proposal network: --proposal is the checkpoint of
training.train_proposal. The training writes checkpoints and resumes from them. The seed determines
all randomness.

With --start the training continues from the checkpoint of another one, whose network is one of the
teachers, with batch normalisation folded into the convolutions. The exported weights are
interpolated between those before and after.
"""

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mask_detector_ros.errors import ModelError
from mask_detector_ros.evaluation.group_figures import MIN_SIDE
from training.evaluate_mask_classifier import evaluation_crops
from training.mask_augmentation import WITHOUT_MASK
from training.mask_data import LABELS_ONLY, read_faces
from training.mask_network import fuse_batch_norm
from training.settings_file import read_settings
from training.training_command import OUT, REPOSITORY, run_training, training_parser
from training.two_stage.decision_crops import Crops
from training.two_stage.decision_loss import decision_loss
from training.two_stage.decision_network import DecisionNetwork
from training.two_stage.decision_teacher import DecisionTeacher
from training.two_stage.decision_views import CropMaker
from training.two_stage.export_decision import calibrate, export_decision
from training.two_stage.harvest_proposals import harvest
from training.two_stage.image_store import ImageStore, load_store
from training.two_stage.landmark_targets import with_landmarks
from training.two_stage.painted_faces import collect_cloth, paint_faces
from training.two_stage.photographs import read_photographs
from training.two_stage.proposal_network import (
    ProposalNetwork,
    interpolate_weights,
    load_published,
)
from training.two_stage.taught_pairs import TaughtPairs
from training.two_stage.training_run import (
    LAYOUT,
    TrainingRun,
    add_run_options,
    mixed_precision,
)
from training.two_stage.training_settings import DecisionSettings

SETTINGS_FILE = Path(__file__).with_name("decision.yaml")
TEACHER = "efficientnet_lite"

CLOTHS = 700
"""Number of photographed masks whose cloth is painted on bare faces."""

PAIR_WEIGHT = 0.6
"""Weight of the loss on pairs for teachers."""


def make_network(settings: DecisionSettings, pretrained: bool = True) -> nn.Module:
    """Make the decision network (or its teacher) named in the settings.

    Raises:
        ModelError: there is no network of that name.
    """
    if settings.network == "residual":
        return DecisionNetwork(settings.crop_size, **settings.shape)
    if settings.network == TEACHER:
        return DecisionTeacher(
            crop_size=settings.crop_size, pretrained=pretrained, **settings.shape
        )
    raise ModelError(f"network {settings.network!r} is neither residual nor {TEACHER}")


def load_teachers(args: argparse.Namespace) -> list[tuple[nn.Module, int]]:
    """Load the decision teachers that `train` wrote, and the network to start from: each with the
    side of its crops.

    Raises:
        ModelError: there is no such file.
    """
    teachers: list[tuple[nn.Module, int]] = []
    for path in args.teacher:
        if not path.is_file():
            raise ModelError(
                f"{path} does not exist; make it first: python -m training.train_decision"
                f" --settings training/decision_teacher.yaml --output {path} --data DIR"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        side = state["crop_size"]
        network = DecisionTeacher(size=state["size"], crop_size=side, pretrained=False)
        network.load_state_dict(state["network"])
        teachers.append((network, side))
    if args.start is not None:
        teachers.append(load_start(args.start))
    return [
        (teacher.to(args.device).to(memory_format=LAYOUT).eval().requires_grad_(False), side)  # type: ignore[call-overload]
        for teacher, side in teachers
    ]


def load_start(path: Path) -> tuple[nn.Module, int]:
    """Load the decision network of a checkpoint, and the side of its crops.

    Raises:
        ModelError: there is no such file.
    """
    if not path.is_file():
        raise ModelError(
            f"{path} does not exist; run training.train_decision without --start first"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    settings = state["settings"]
    network: nn.Module = DecisionNetwork(settings["crop_size"], **settings["shape"])
    if any(name.endswith("conv.bias") for name in state["result"]):
        network = fuse_batch_norm(network)
    network.load_state_dict(state["result"])
    return network, settings["crop_size"]


def load_crops(args: argparse.Namespace, settings: DecisionSettings) -> CropMaker:
    """Load the photographs and run the proposal network over them, for crops to train the decision
    network on."""
    published = load_published(args.published / "yunet_n.pth", "n").eval()
    proposer = load_proposer(args.proposal, args.published)
    photographs = with_landmarks(
        read_photographs(args.data, "train", settings.left_out), published, args.landmarks
    )
    sources = sorted({p.source for p in photographs})
    bare = [i for i, p in enumerate(photographs) if (p.kinds == WITHOUT_MASK).any()]
    cloths = collect_cloth(photographs, CLOTHS, settings.seed)
    store = load_store(
        photographs,
        sources,
        painted=[i for i in bare if not photographs[i].suspect] * settings.painted_copies,
        painter=partial(paint_faces, share=settings.painted_share, cloths=cloths),
        seed=settings.seed,
        workers=args.workers,
    ).to(args.device)
    return make_crop_maker(store, sources, proposer.to(args.device), settings)


def make_crop_maker(
    store: ImageStore, sources: list[str], proposer: ProposalNetwork, settings: DecisionSettings
) -> CropMaker:
    """Make the source of crops for the decision network; label-only and painted photographs have no
    proposals."""
    only = torch.tensor([s in LABELS_ONLY for s in sources], device=store.sources.device)
    searched = torch.nonzero(~only[store.sources] & ~store.painted)[:, 0]
    proposals = harvest(
        proposer.eval(),
        store,
        searched,
        threshold=settings.harvest_score,
        doubtful=settings.doubtful_score,
        smallest=settings.smallest_face,
    )
    return CropMaker(store, sources, proposals, settings)


def train(args: argparse.Namespace) -> None:
    """Train and export the decision network."""
    settings = read_settings(DecisionSettings, args.settings)
    settings = replace(settings, seed=settings.seed if args.seed is None else args.seed)
    torch.manual_seed(settings.seed)
    network = make_network(settings)
    if args.start is not None:
        network = fuse_batch_norm(load_start(args.start)[0])
    teachers = load_teachers(args) if settings.teacher_share > 0 else []
    maker = load_crops(args, settings)
    if teachers:
        maker.learn_from(teachers)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    run = TrainingRun(network, settings, args.device, freeze=False)
    pairs = settings.teacher_pairs if teachers else 0
    pool = TaughtPairs(maker, settings.pair_pool, settings.crop_size, teachers)
    count = settings.batch_size - pairs

    def draw(_step: int) -> Crops:
        return maker.draw(count, settings.crop_size)

    def loss(step: int, crops: Crops) -> Tensor:
        pixels, taught = crops.pixels, None
        if pairs:
            shown, taught = pool.draw(pairs)
            pixels = torch.cat([pixels, shown])
        with mixed_precision(torch.device(args.device)):
            outputs = run.network(pixels.contiguous(memory_format=LAYOUT))
        progress = step / run.steps if args.start is None else 1.0
        parts = {name: value[:count] for name, value in outputs.items()}
        total = decision_loss(parts, crops, settings, progress)
        if taught is not None:
            agreement = functional.cross_entropy(outputs["labels"][count:].float(), taught)
            total = total + PAIR_WEIGHT * agreement
        return total

    run.run(draw, loss, args.checkpoint, args.save_every, args.loaders)
    network = run.average.cpu()
    trained = {name: value.cpu() for name, value in run.result().items()}
    network.load_state_dict(interpolate_weights(start, trained, settings.interpolation))
    write_network(network, settings, args)


def load_proposer(path: Path, published: Path) -> ProposalNetwork:
    """Load the proposal network that `training.train_proposal` exported, from its checkpoint, to
    train the decision network behind it.

    Args:
        path: path of the checkpoint.
        published: folder with the weights that it started from.

    Raises:
        ModelError: there is no such file.
    """
    if not path.is_file():
        raise ModelError(f"{path} does not exist; run training.train_proposal first")
    state = torch.load(path, map_location="cpu", weights_only=True)
    variant = state["settings"]["variant"]
    network = load_published(published / f"yunet_{variant}.pth", variant).eval()
    interpolation = state["settings"]["interpolation"]
    network.load_state_dict(
        interpolate_weights(network.state_dict(), state["result"], interpolation)
    )
    return network


def write_network(network: nn.Module, settings: DecisionSettings, args: argparse.Namespace) -> None:
    """Calibrate and export the decision network, or save the teacher."""
    args.output.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(network, DecisionTeacher):
        state = {"network": network.state_dict(), "crop_size": settings.crop_size}
        torch.save({**state, **settings.shape}, args.output)
    else:
        assert isinstance(network, DecisionNetwork)
        rows = [row for row in read_faces(args.data, "val") if row.side >= MIN_SIDE]
        calibration = calibrate(
            label_logits(network, evaluation_crops(rows, settings.crop_size, settings.margin)),
            torch.tensor([row.label for row in rows]),
            settings.label_biases,
            settings.operating_point,
        )
        export_decision(
            network,
            args.output,
            crop_size=settings.crop_size,
            margin=settings.margin,
            calibration=calibration,
        )
    print(f"wrote {args.output}")


@torch.no_grad()
def label_logits(network: DecisionNetwork, crops: NDArray[np.uint8]) -> Tensor:
    """The decision network's (N, K) label logits of (N, S, S, 3) uint8 crops."""
    parts = torch.from_numpy(crops).split(256)
    outputs = [network(part.permute(0, 3, 1, 2).float())["labels"] for part in parts]
    return torch.cat(outputs)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = training_parser(__doc__, SETTINGS_FILE, REPOSITORY / "models" / "decision.onnx")
    parser.add_argument("--published", type=Path, default=OUT / "yunet")
    parser.add_argument("--proposal", type=Path, default=OUT / "proposal.ckpt")
    parser.add_argument(
        "--teacher",
        type=Path,
        nargs="+",
        default=[OUT / "decision_teacher.pt"],
        help="teachers; the targets are their mean",
    )
    parser.add_argument(
        "--start", type=Path, help="checkpoint of the decision network to start from"
    )
    parser.add_argument("--seed", type=int, help="instead of the seed of the settings")
    parser.add_argument("--landmarks", type=Path, default=OUT / "landmarks.npz")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="default: out/NAME.ckpt or out/NAME_SEED.ckpt with the name of the settings",
    )
    add_run_options(parser)
    args = parser.parse_args(argv)
    suffix = "" if args.seed is None else f"_{args.seed}"
    args.checkpoint = args.checkpoint or OUT / f"{args.settings.stem}{suffix}.ckpt"
    return run_training(train, args)


if __name__ == "__main__":
    sys.exit(main())
