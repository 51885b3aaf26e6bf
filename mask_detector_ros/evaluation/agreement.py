# SPDX-License-Identifier: Apache-2.0
"""Agreement of two detectors on the same images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.evaluation.matching import match_faces
from mask_detector_ros.faces import Faces

BOX_LIMIT, PROBABILITY_LIMIT = 1.5, 0.04
"""Tolerances in pixels and in probability within which faces count as the same when two backends
or two precisions run the same networks."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of the faces of a first and a second detector.

    Attributes:
        images: number of images compared.
        faces: faces that the first detector found.
        missing: faces that only the first found.
        extra: faces that only the second found.
        labels: common faces whose labels differ.
        boxes: (C,) largest difference of a box edge of each common face, in pixels.
        probabilities: (C,) largest difference of a probability of each common face.
    """

    images: int
    faces: int
    missing: int
    extra: int
    labels: int
    boxes: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @classmethod
    def of(cls, pairs: Iterable[tuple[Faces, Faces]]) -> Agreement:
        """Measure the agreement of two detectors, frame by frame."""
        images = faces = missing = extra = labels = 0
        boxes = [np.empty(0, np.float32)]
        probabilities = [np.empty(0, np.float32)]
        for first, second in pairs:
            partners = match_faces(second, first)
            common = np.flatnonzero(partners >= 0)
            a, b = first[common], second[partners[common]]
            images += 1
            faces += len(first)
            missing += len(first) - len(common)
            extra += len(second) - len(common)
            labels += int((a.label_ids != b.label_ids).sum())
            boxes.append(np.abs(a.boxes - b.boxes).max(axis=1, initial=0))
            differences = np.abs(a.probabilities - b.probabilities)
            probabilities.append(differences.max(axis=1, initial=0))
        return cls(
            *(images, faces, missing, extra, labels),
            *(np.concatenate(boxes), np.concatenate(probabilities)),
        )

    def to_record(self) -> dict[str, object]:
        """The agreement of two detectors as JSON-ready counts, with the distribution of both
        differences."""
        return {
            "images": self.images,
            "faces": self.faces,
            "missing": self.missing,
            "extra": self.extra,
            "labels": self.labels,
            "box_px": _spread(self.boxes, BOX_LIMIT),
            "probability": _spread(self.probabilities, PROBABILITY_LIMIT),
        }


def _spread(values: NDArray[np.float32], limit: float) -> dict[str, float]:
    points = (50, 95, 99, 100)
    found = np.percentile(values, points) if len(values) else np.zeros(len(points))
    within = float((values <= limit).mean()) if len(values) else 1.0
    return {
        **{f"{point}%": round(float(value), 4) for point, value in zip(points, found, strict=True)},
        f"within_{limit:g}": round(within, 4),
    }
