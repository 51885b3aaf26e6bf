"""How well found faces agree with known ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import Faces
from mask_detector_ros.mtcnn.boxes import intersection_over_union


@dataclass
class Score:
    """Counts over images, of the known faces of one label.

    Attributes:
        present: known faces.
        found: those that a found face matches.
        right: those whose match carries the right label.
    """

    present: int = 0
    found: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        """Share of the known faces that were found; 1 where there are none."""
        return self.found / self.present if self.present else 1.0

    @property
    def label_accuracy(self) -> float:
        """Share of the found faces with the right label; 1 where there are none."""
        return self.right / self.found if self.found else 1.0


def match_faces(found: Faces, truth: Faces, min_overlap: float = 0.5) -> NDArray[np.int64]:
    """Pair each known face with at most one found face, the best-overlapping pairs first.

    Returns:
        (len(truth),) index into `found`, or -1 where no free face overlaps by `min_overlap`
        (intersection over union).
    """
    overlaps = intersection_over_union(truth.boxes, found.boxes)
    matches = np.full(len(truth), -1, np.int64)
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        t, f = np.unravel_index(flat, overlaps.shape)
        if overlaps[t, f] < min_overlap:
            break
        if matches[t] < 0 and f not in matches:
            matches[t] = f
    return matches


def score_faces(
    pairs: Iterable[tuple[Faces, Faces]], min_side: float = 0.0, min_overlap: float = 0.5
) -> dict[str, Score]:
    """Score found faces against known ones, by the known label.

    Args:
        pairs: (found, truth) of each image.
        min_side: known faces whose longer side is shorter, in pixels, do not count.
        min_overlap: intersection over union that makes a match.
    """
    scores: dict[str, Score] = {}
    for found, truth in pairs:
        matches = match_faces(found, truth, min_overlap)
        sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]).max(axis=1, initial=0)
        for label, match, side in zip(truth.labels, matches, sides, strict=True):
            if side < min_side:
                continue
            score = scores.setdefault(label, Score())
            score.present += 1
            if match >= 0:
                score.found += 1
                score.right += found.labels[match] == label
    return scores
