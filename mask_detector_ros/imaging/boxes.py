# SPDX-License-Identifier: Apache-2.0
"""Geometry of boxes: (N, 4) float32 arrays of xmin, ymin, xmax, ymax; the last two exclusive."""

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]

ROWS_AT_A_TIME = 64
"""Number of boxes compared with all others in one step."""


def box_area(boxes: FloatArray) -> FloatArray:
    """(N,) areas of boxes; 0 for an inverted box."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    area: FloatArray = sides[:, 0] * sides[:, 1]
    return area


def intersection(a: FloatArray, b: FloatArray) -> FloatArray:
    """(N, M) intersection areas of N and M boxes."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    area: FloatArray = sides[..., 0] * sides[..., 1]
    return area


def intersection_over_union(a: FloatArray, b: FloatArray) -> FloatArray:
    """(N, M) intersection over union of N and M boxes; 0 for two empty boxes."""
    shared = intersection(a, b)
    union = box_area(a)[:, None] + box_area(b)[None, :] - shared
    share: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return share


def bbox_regression(boxes: FloatArray, offsets: FloatArray) -> FloatArray:
    """Apply bounding-box regression: move each edge of boxes by the (N, 4) offsets, given in box
    widths and heights."""
    sides = boxes[:, 2:] - boxes[:, :2]
    moved: FloatArray = boxes + offsets * np.concatenate([sides, sides], axis=1)
    return moved


def best_scores(scores: FloatArray, count: int) -> IndexArray:
    """Indices of the boxes with the `count` highest of (N,) scores (all if fewer), in ascending
    index order."""
    if len(scores) <= count:
        return np.arange(len(scores))
    return np.sort(np.argpartition(scores, len(scores) - count)[len(scores) - count :])


def non_max_suppression(boxes: FloatArray, scores: FloatArray, threshold: float) -> IndexArray:
    """Apply non-maximum suppression to boxes: indices of those to keep, best score first.

    A box is suppressed if its intersection over union with a better box exceeds `threshold`
    or if its score is 0.
    """
    if len(boxes) == 0:
        return np.empty(0, np.int64)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
    found = cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), 0.0, threshold)
    return np.asarray(found, np.int64).reshape(-1)


def merge_boxes(boxes: FloatArray, scores: FloatArray, threshold: float) -> FloatArray:
    """Non-maximum suppression with box voting: each kept box becomes the score-weighted mean of
    itself and the boxes it suppresses (Gidaris and Komodakis, 2015,
    https://arxiv.org/abs/1505.01749).

    Returns:
        (M, 4) boxes, best score first.
    """
    kept = non_max_suppression(boxes, scores, threshold)
    merged = np.empty((len(kept), 4), np.float32)
    # Compute overlaps in blocks of rows: all pairs of a crowd at once take too much memory.
    for start in range(0, len(kept), ROWS_AT_A_TIME):
        some = kept[start : start + ROWS_AT_A_TIME]
        voters = intersection_over_union(boxes[some], boxes) > threshold
        voters[np.arange(len(some)), some] = True
        weights = voters * scores
        merged[start : start + len(some)] = weights @ boxes / weights.sum(axis=1, keepdims=True)
    return merged


def suppress_contained(boxes: FloatArray, scores: FloatArray, threshold: float) -> IndexArray:
    """Suppress boxes inside better ones: indices of the boxes to keep, best score first. Overlap is
    the intersection over the smaller area (MTCNN's last step)."""
    area = box_area(boxes)
    remaining = np.argsort(-scores, kind="stable")
    kept = []
    # Compute one row of overlaps at a time: all rows at once take too much memory in a crowd.
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        shared = intersection(boxes[[best]], boxes[remaining])[0]
        smaller = np.minimum(area[best], area[remaining])
        remaining = remaining[shared <= threshold * smaller]
    return np.asarray(kept, np.int64)
