# SPDX-License-Identifier: Apache-2.0
"""The settings of proposal.yaml and decision.yaml, which explain each."""

from dataclasses import dataclass
from typing import Any

from training.two_stage.view_changes import Changes


@dataclass(frozen=True)
class RunSettings:
    """What both trainings have.

    Attributes:
        seed: seed of all randomness.
        cycles: number of steps of each cycle.
        learning_rate: peak learning rate of the first cycle.
        warm_up, weight_decay, gradient_limit: options of AdamW.
        weight_average: decay of the running average per step.
    """

    seed: int
    cycles: list[int]
    learning_rate: float
    warm_up: int
    weight_decay: float
    gradient_limit: float
    weight_average: float


@dataclass(frozen=True)
class ViewSettings(RunSettings):
    """How both trainings draw and change views, and where the score threshold lies."""

    left_out: list[str]
    label_shares: list[float]
    painted_share: float
    painted_weight: float
    coarse_share: float
    slight_turns: float
    strong_turns: float
    changes: Changes
    smallest_face: int
    box_weight: float
    landmark_weight: float
    operating_point: float
    interpolation: float


@dataclass(frozen=True)
class ProposalSettings(ViewSettings):
    """How the proposal network is trained."""

    variant: str
    view_sides: list[int]
    batch_sizes: list[int]
    negative_share: float
    scales: list[float]
    smallest_target: int
    smallest_box: int
    visible_share: float
    most_faces: int
    padded_share: float
    bare_weight: float
    largest_face: int


@dataclass(frozen=True)
class DecisionSettings(ViewSettings):
    """How the decision network, or its teacher, is trained."""

    network: str
    crop_size: int
    margin: float
    shape: dict[str, Any]
    batch_size: int
    teacher_share: float
    teacher_pairs: int
    pair_pool: int
    source_weights: dict[str, float]
    suspect_weight: float
    dark_weight: float
    turned_weight: float
    painted_copies: int
    background_share: float
    random_share: float
    proposed_share: float
    harvest_score: float
    doubtful_score: float
    jitter: list[float]
    wide_jitter: list[float]
    wide_share: float
    label_smoothing: float
    quality_from: float
    score_weight: float
    label_weight: float
    label_biases: list[float]
