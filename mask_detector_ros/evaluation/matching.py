"""Match detections with known faces, and count what was found and labelled right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import (
    FloatArray,
    IndexArray,
    box_area,
    intersection,
    intersection_over_union,
)

MIN_OVERLAP = 0.5
"""Intersection over union that makes a match, as in PASCAL VOC."""

MIN_INSIDE_IGNORED = 0.5
"""Share of a detection inside an ignored box above which it does not count; COCO's rule for its
crowd regions, which also compares with the detection's own area."""

NO_MATCH, IGNORED = -1, -2


def match_by_score(
    boxes: FloatArray,
    scores: FloatArray,
    known: FloatArray,
    ignored: FloatArray,
    min_overlap: float = MIN_OVERLAP,
) -> tuple[IndexArray, FloatArray]:
    """Give each detection, best score first, the free known face that it overlaps most.

    Unlike `match_faces`, which pairs the best overlaps first, a detection keeps its
    match whatever is found at lower scores. So one matching serves all thresholds, and a
    precision-recall curve needs that.

    Args:
        boxes: (N, 4) detections.
        scores: (N,) of the detections.
        known: (M, 4) known faces.
        ignored: (K, 4) where a detection without a match is neither right nor wrong: one that
            overlaps such a box by `min_overlap`, or lies in it with half of its area.
        min_overlap: intersection over union that makes a match.

    Returns:
        (N,) index into `known`, `NO_MATCH` or `IGNORED`; (N,) overlap with the match, or 0.
    """
    matches = np.full(len(boxes), NO_MATCH, np.int64)
    overlaps = np.zeros(len(boxes), np.float32)
    if len(known):
        free = intersection_over_union(boxes, known)
        for index in np.argsort(-scores, kind="stable"):
            best = free[index].argmax()
            if free[index, best] >= min_overlap:
                matches[index], overlaps[index] = best, free[index, best]
                free[:, best] = 0
    if len(ignored):
        in_ignored = intersection_over_union(boxes, ignored).max(axis=1) >= min_overlap
        inside = intersection(boxes, ignored).max(axis=1)
        in_ignored |= inside > MIN_INSIDE_IGNORED * box_area(boxes)
        matches[in_ignored & (matches == NO_MATCH)] = IGNORED
    return matches, overlaps


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


def match_faces(found: Faces, truth: Faces, min_overlap: float = MIN_OVERLAP) -> NDArray[np.int64]:
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
    pairs: Iterable[tuple[Faces, Faces]], min_side: float = 0.0, min_overlap: float = MIN_OVERLAP
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
