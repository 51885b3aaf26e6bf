"""Which known face each detection has found."""

from __future__ import annotations

import numpy as np

from mask_detector_ros.mtcnn.boxes import FloatArray, IndexArray, intersection_over_union

MIN_OVERLAP = 0.5
"""Intersection over union that makes a match, as in PASCAL VOC."""

NO_MATCH, IGNORED = -1, -2


def match_by_score(
    boxes: FloatArray, scores: FloatArray, known: FloatArray, ignored: FloatArray
) -> tuple[IndexArray, FloatArray]:
    """Give each detection, best score first, the free known face that it overlaps most.

    Unlike `scoring.match_faces`, which pairs the best overlaps first, a detection keeps its
    match whatever is found at lower scores. So one matching serves all thresholds, and a
    precision-recall curve needs that.

    Args:
        boxes: (N, 4) detections.
        scores: (N,) of the detections.
        known: (M, 4) known faces.
        ignored: (K, 4) where a detection without a match is neither right nor wrong.

    Returns:
        (N,) index into `known`, `NO_MATCH` or `IGNORED`; (N,) overlap with the match, or 0.
    """
    matches = np.full(len(boxes), NO_MATCH, np.int64)
    overlaps = np.zeros(len(boxes), np.float32)
    if len(known):
        free = intersection_over_union(boxes, known)
        for index in np.argsort(-scores, kind="stable"):
            best = free[index].argmax()
            if free[index, best] >= MIN_OVERLAP:
                matches[index], overlaps[index] = best, free[index, best]
                free[:, best] = 0
    if len(ignored):
        in_ignored = intersection_over_union(boxes, ignored).max(axis=1) >= MIN_OVERLAP
        matches[in_ignored & (matches == NO_MATCH)] = IGNORED
    return matches, overlaps
