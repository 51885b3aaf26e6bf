"""What a whole cascade in one graph is made for."""

from __future__ import annotations

from dataclasses import dataclass

TWO_STAGE_SLOTS = 32
"""Crops of the two-stage cascade: its first stage proposes 1.5 a face."""


@dataclass(frozen=True)
class GraphSettings:
    """What the graph is made for.

    Attributes:
        width, height: of the images.
        min_face_size, pyramid_factor, detection_thresholds, margin: the parameters of those
            names; margin negative for the classifier's own.
        level_slots: proposals of P-Net that each level of the pyramid may give, the best ones.
        window_slots: of them all that are compared with each other after the levels.
        refine_slots: crops of R-Net.
        decide_slots: crops of O-Net, or of the decision network of the two-stage cascade.
        face_slots: faces.
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
