# SPDX-License-Identifier: Apache-2.0
"""Save and load checkpoints; an interruption does not damage them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mask_detector_ros.errors import ModelError
from mask_detector_ros.output_file import OutputFile


def save_checkpoint(path: Path, state: object) -> None:
    """Save a checkpoint of a training; an interrupted write leaves the old one intact."""
    with OutputFile(path) as file:
        with file.partial.open("wb") as content:
            torch.save(state, content)
        file.commit()


def load_checkpoint(path: Path, settings: Any, device: str = "cpu") -> dict[str, Any]:
    """Load a checkpoint of a training, which holds its `settings`.

    Raises:
        ModelError: it was made with other settings.
    """
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if state["settings"] != asdict(settings):
        raise ModelError(f"{path} was made with other settings; delete it to start again")
    return state
