# SPDX-License-Identifier: Apache-2.0
"""The settings of decision.yaml, which explains each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from training.two_stage.view_changes import Changes


@dataclass(frozen=True)
class Settings:
    """How the decision network, or its teacher, is trained."""

    network: str
    seed: int
    crop_size: int
    margin: float
    shape: dict[str, Any]
    cycles: list[int]
    batch_size: int
    learning_rate: float
    warm_up: int
    weight_decay: float
    gradient_limit: float
    weight_average: float
    teacher_share: float
    label_shares: list[float]
    source_weights: dict[str, float]
    suspect_weight: float
    background_share: float
    random_share: float
    proposed_share: float
    painted_share: float
    painted_weight: float
    harvest_score: float
    doubtful_score: float
    jitter: list[float]
    wide_jitter: list[float]
    wide_share: float
    slight_turns: float
    strong_turns: float
    coarse_share: float
    changes: Changes
    label_smoothing: float
    quality_from: float
    score_weight: float
    box_weight: float
    landmark_weight: float
    label_weight: float
    smallest_face: int
    label_biases: list[float]
    operating_point: float


def read_settings(path: Path) -> Settings:
    """Read the settings from a YAML file.

    Raises:
        TypeError: a setting is missing or unknown.
    """
    values = yaml.safe_load(path.read_text())
    return Settings(**{**values, "changes": Changes(**values["changes"])})
