"""What can change from one frame to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class DetectionSettings:
    """The live parameters of a detector; `mask_detector_ros.parameters` says what each means."""

    min_face_size: int
    pyramid_factor: float
    detection_thresholds: tuple[float, float, float]
    max_faces: int
    margin: float = -1.0
    max_candidates: int = 500

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> DetectionSettings:
        """From checked parameters of the same names; others are left alone."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})
