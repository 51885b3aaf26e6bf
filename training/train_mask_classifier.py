# SPDX-License-Identifier: Apache-2.0
"""Train the mask classifier and export it: python -m training.train_mask_classifier --data DIR.

Writes a checkpoint after each epoch and resumes from it; then writes models/mask_classifier.onnx
and prints its accuracy on the validation split. The seed determines all randomness, so on one
machine a resumed run equals an uninterrupted one.

The classifier learns from labels and from a teacher (training/mask_teacher.py), which must be
trained first: add --settings training/mask_teacher.yaml --output out/mask_teacher.onnx.
"""

import argparse
import sys
from pathlib import Path

import cv2
import torch
from torch import Tensor
from tqdm import tqdm

from mask_detector_ros.inference import create_session
from mask_detector_ros.sources import read_image
from training.evaluate_mask_classifier import evaluation_crops, format_report
from training.export_mask_classifier import export_classifier
from training.mask_data import LABELS, FacePatch, FaceRow, cut_patch, read_faces
from training.mask_network import MaskNetwork, fit_temperature
from training.mask_teacher import Teacher, TeacherNetwork, export_teacher
from training.mask_training_loop import Settings, Trainer
from training.settings_file import read_settings
from training.training_command import OUT, REPOSITORY, run_training, training_parser

SETTINGS_FILE = Path(__file__).with_name("mask_classifier.yaml")


def read_patches(rows: list[FaceRow]) -> list[FacePatch]:
    """Read the faces of all rows to train the mask classifier on, decoding each photograph once."""
    by_image: dict[Path, list[int]] = {}
    for index, row in enumerate(rows):
        by_image.setdefault(row.image, []).append(index)
    patches: dict[int, FacePatch] = {}
    for path, indices in tqdm(by_image.items(), "photographs", leave=False):
        image = read_image(path)
        patches.update({index: cut_patch(image, rows[index]) for index in indices})
    return [patches[index] for index in range(len(rows))]


def train(args: argparse.Namespace) -> None:
    """Train the mask classifier, calibrate it on the validation split, export it, report."""
    settings = read_settings(Settings, args.settings)
    teacher = Teacher(args.teacher, args.threads) if settings.teacher_share > 0 else None
    trainer = Trainer(settings, args.device, teacher)
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

    network = trainer.average.module.cpu().eval()
    if isinstance(network, TeacherNetwork):
        export_teacher(network, args.output, settings.crop_size)
        print(f"wrote {args.output}")
    else:
        calibrate_and_export(network, trainer.logits(val_crops), val_rows, settings, args.output)
    session = create_session(args.output.read_bytes(), args.output.name, "onnxruntime")
    print(format_report(session, val_rows, val_crops))


def calibrate_and_export(
    network: MaskNetwork, logits: Tensor, rows: list[FaceRow], settings: Settings, path: Path
) -> None:
    """Calibrate the mask classifier on the logits of labelled rows, and write the shipped file."""
    trusted = torch.tensor([not row.suspect for row in rows])
    labels = torch.tensor([row.label for row in rows])
    temperature, _ = fit_temperature(logits[trusted].clone(), labels[trusted])
    with torch.no_grad():
        network.head.bias += temperature * torch.tensor(settings.label_biases)
    export_classifier(
        network,
        path,
        crop_size=settings.crop_size,
        temperature=temperature,
        labels=LABELS,
        margin=settings.margin,
    )
    print(f"wrote {path}, temperature {temperature:.3f}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = training_parser(__doc__, SETTINGS_FILE, REPOSITORY / "models" / "mask_classifier.onnx")
    parser.add_argument(
        "--checkpoint", type=Path, help="default: out/NAME.ckpt with the name of the output"
    )
    parser.add_argument("--teacher", type=Path, default=OUT / "mask_teacher.onnx")
    args = parser.parse_args(argv)
    args.checkpoint = args.checkpoint or OUT / f"{args.output.stem}.ckpt"
    # Each worker process already uses a whole core.
    cv2.setNumThreads(1)
    return run_training(train, args)


if __name__ == "__main__":
    sys.exit(main())
