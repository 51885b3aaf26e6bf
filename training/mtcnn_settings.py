# SPDX-License-Identifier: Apache-2.0
"""The settings of mtcnn.yaml, which explains each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The settings of MTCNN's training: how samples are harvested and the networks trained."""

    seed: int
    passes: int
    min_face_side: int
    harvest_min_face: int
    harvest_threshold: float
    unlabelled_score: float
    positive_overlap: float
    part_overlap: float
    negative_overlap: float
    samples_of_face: list[int]
    negatives_of_photograph: dict[str, int]
    random_share: float
    painted_share: float
    batch_size: int
    epochs: dict[str, int]
    quality_epochs: dict[str, int]
    quality_range: list[float]
    samples_per_epoch: dict[str, int]
    learning_rate: dict[str, float]
    weight_decay: float
    weight_average: float
    kind_shares: list[float]
    label_shares: list[float]
    hard_share: float
    offset_weight: float
    overlap_weight: float
    landmark_weight: float
    operating_points: dict[str, float]
