# SPDX-License-Identifier: Apache-2.0
"""Save and load checkpoints; an interruption does not damage them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mask_detector_ros.errors import ModelError
from mask_detector_ros.output_file import OutputFile

PARTS = ("network", "average", "optimizer")
"""Attributes of a training with a state: the network, the average of its weights, its optimiser."""


def save_checkpoint(path: Path, state: object) -> None:
    """Save a checkpoint of a training; an interrupted write leaves the old one intact."""
    with OutputFile(path) as file:
        with file.partial.open("wb") as content:
            torch.save(state, content)
        file.commit()


def save_training(path: Path, training: Any, **progress: object) -> None:
    """Save the `PARTS` of a training with its `settings` and how far it is."""
    parts = {name: getattr(training, name).state_dict() for name in PARTS}
    save_checkpoint(path, {"settings": asdict(training.settings), **parts, **progress})


def load_training(path: Path, training: Any, device: str = "cpu") -> dict[str, Any]:
    """Load what `save_training` saved into a training; return it with the progress.

    Raises:
        ModelError: it was made with other settings.
    """
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if state["settings"] != asdict(training.settings):
        raise ModelError(f"{path} was made with other settings; delete it to start again")
    for name in PARTS:
        getattr(training, name).load_state_dict(state[name])
    return state
