# SPDX-License-Identifier: Apache-2.0
"""Settings of a single-file cascade."""

from dataclasses import dataclass

TWO_STAGE_SLOTS = 64
"""Crops of the two-stage cascade: its first stage proposes 1.5 per face."""


@dataclass(frozen=True)
class GraphSettings:
    """Settings of the graph.

    Attributes:
        width, height: size of the images.
        min_face_size, pyramid_factor, detection_thresholds, margin: the parameters of those
            names; a negative margin selects the classifier's default.
        level_slots: maximum number of P-Net proposals per pyramid level.
        window_slots: maximum number of proposals over all levels for suppression.
        refine_slots: maximum number of R-Net crops.
        decide_slots: maximum number of crops of O-Net, or of the two-stage decision network.
        face_slots: maximum number of faces.
        half: whether the classifier computes in float16.
    """

    width: int
    height: int
    min_face_size: int = 20
    pyramid_factor: float = 0.709
    detection_thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    margin: float = -1.0
    level_slots: int = 512
    window_slots: int = 512
    refine_slots: int = 512
    decide_slots: int = 96
    face_slots: int = 32
    half: bool = False
