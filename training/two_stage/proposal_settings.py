# SPDX-License-Identifier: Apache-2.0
"""The settings of proposal.yaml, which explains each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from training.two_stage.view_changes import Changes


@dataclass(frozen=True)
class Settings:
    """How the proposal network is trained."""

    variant: str
    seed: int
    left_out: list[str]
    cycles: list[int]
    view_sides: list[int]
    batch_sizes: list[int]
    learning_rate: float
    warm_up: int
    weight_decay: float
    gradient_limit: float
    weight_average: float
    interpolation: float
    label_shares: list[float]
    negative_share: float
    painted_share: float
    painted_weight: float
    scales: list[float]
    smallest_target: int
    smallest_box: int
    visible_share: float
    most_faces: int
    padded_share: float
    coarse_share: float
    slight_turns: float
    strong_turns: float
    changes: Changes
    box_weight: float
    landmark_weight: float
    bare_weight: float
    smallest_face: int
    largest_face: int
    operating_point: float


def read_settings(path: Path) -> Settings:
    """Read the settings from a YAML file.

    Raises:
        TypeError: a setting is missing or unknown.
    """
    values = yaml.safe_load(path.read_text())
    return Settings(**{**values, "changes": Changes(**values["changes"])})
