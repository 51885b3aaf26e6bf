# SPDX-License-Identifier: Apache-2.0
"""Write checkpoints so that an interruption does not damage them."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
import yaml

from mask_detector_ros.errors import ModelError
from mask_detector_ros.output_file import OutputFile

Settings = TypeVar("Settings")


def read_settings(kind: type[Settings], path: Path) -> Settings:
    """Read a dataclass of settings, and those within it, from a YAML file.

    Raises:
        TypeError: a setting is missing or unknown.
    """
    values = yaml.safe_load(path.read_text())
    for name, inner in get_type_hints(kind).items():
        if is_dataclass(inner) and name in values:
            values[name] = inner(**values[name])  # type: ignore[operator]
    return kind(**values)


def save_checkpoint(path: Path, state: object) -> None:
    """Write a checkpoint; an interrupted write leaves the old one intact."""
    with OutputFile(path) as file:
        with file.partial.open("wb") as content:
            torch.save(state, content)
        file.commit()


def load_checkpoint(path: Path, settings: Any, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint that holds its `settings`.

    Raises:
        ModelError: it was made with other settings.
    """
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if state["settings"] != asdict(settings):
        raise ModelError(f"{path} was made with other settings; delete it to start again")
    return state
