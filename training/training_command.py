# SPDX-License-Identifier: Apache-2.0
"""The options that all trainings have, and how they run."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch

from mask_detector_ros.cli.command import run_command

REPOSITORY = Path(__file__).resolve().parents[1]
OUT = REPOSITORY / "out"


def training_parser(
    description: str | None, settings: Path, output: Path
) -> argparse.ArgumentParser:
    """Make an argument parser with the options that all training commands have.

    Args:
        description: description of the command.
        settings: the default settings file.
        output: the default output file or folder.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with labels.csv and images/"
    )
    parser.add_argument("--settings", type=Path, default=settings)
    parser.add_argument("--output", type=Path, default=output)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="number of threads of torch"
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="number of processes that read photographs"
    )
    return parser


def run_training(train: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Run a training command and return its exit code; an error of this package becomes one
    line."""
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True

    def work() -> int:
        train(args)
        return 0

    return run_command(work)
