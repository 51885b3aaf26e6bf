# SPDX-License-Identifier: Apache-2.0
"""Match detections with known faces, and count correct detections and labels."""

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
"""A detection does not count if more than this fraction of its area lies inside an ignored box.
COCO's rule for crowd regions also compares with the detection's area."""

NO_MATCH, IGNORED = -1, -2


def match_by_score(
    boxes: FloatArray,
    scores: FloatArray,
    known: FloatArray,
    ignored: FloatArray,
    min_overlap: float = MIN_OVERLAP,
) -> tuple[IndexArray, FloatArray]:
    """Match each detection, best score first, to the unmatched known face that it overlaps most.

    Unlike in `match_faces`, which pairs the best overlaps first, a match does not depend on
    detections with lower scores. One matching therefore serves all thresholds of a
    precision-recall curve.

    Args:
        boxes: (N, 4) detections.
        scores: (N,) scores of the detections.
        known: (M, 4) known faces.
        ignored: (K, 4) boxes on which an unmatched detection is neither right nor wrong: one that
            overlaps the box by `min_overlap`, or has half of its area inside.
        min_overlap: minimum intersection over union of a match.

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
class MatchCounts:
    """Counts of matched faces of one label, over images.

    Attributes:
        present: number of known faces.
        found: number of those with a match.
        right: number of those whose match has the correct label.
    """

    present: int = 0
    found: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        """Share of the known faces that a detection matched; 1 if there are none."""
        return self.found / self.present if self.present else 1.0

    @property
    def label_accuracy(self) -> float:
        """Share of the matched faces with the correct label; 1 if there are none."""
        return self.right / self.found if self.found else 1.0


def match_faces(found: Faces, truth: Faces, min_overlap: float = MIN_OVERLAP) -> NDArray[np.int64]:
    """Match each known face with at most one detected face, the best-overlapping pairs first.

    Returns:
        (len(truth),) index into `found`, or -1 if no unmatched face overlaps by `min_overlap`
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


def count_matches(
    pairs: Iterable[tuple[Faces, Faces]], min_side: float = 0.0
) -> dict[str, MatchCounts]:
    """Count matches of detected faces with known ones, by the known label.

    Args:
        pairs: (found, truth) of each image.
        min_side: known faces whose longer side is shorter than this, in pixels, do not count.
    """
    scores: dict[str, MatchCounts] = {}
    for found, truth in pairs:
        matches = match_faces(found, truth)
        sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]).max(axis=1, initial=0)
        for label, match, side in zip(truth.labels, matches, sides, strict=True):
            if side < min_side:
                continue
            score = scores.setdefault(label, MatchCounts())
            score.present += 1
            if match >= 0:
                score.found += 1
                score.right += found.labels[match] == label
    return scores
