# SPDX-License-Identifier: Apache-2.0
"""Detection settings that can change between frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class DetectionSettings:
    """The live parameters of a detector; see `mask_detector_ros.parameters` for their meaning."""

    min_face_size: int
    pyramid_factor: float
    detection_thresholds: tuple[float, float, float]
    max_faces: int
    margin: float = -1.0
    max_candidates: int = 500

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> DetectionSettings:
        """Create detection settings from validated parameters of the same names; others are
        ignored."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})
