# SPDX-License-Identifier: Apache-2.0
"""The cascade's steps on boxes and scores, as parts of an ONNX graph.

Each part corresponds to a function in `mask_detector_ros`, with slots instead of a variable number
of boxes; `cascade_images` has the steps on pixels. The parts use only operations that TensorRT 8.5
to 11 and TensorRT-RTX build, which excludes NonMaxSuppression and NonZero.

A graph may cut off its empty slots (`used`, `cut`, `refill`), since a CPU would compute them all.
TensorRT needs fixed shapes and leaves these nodes out, see `inference/fixed_slots.py`.
"""

from __future__ import annotations

import numpy as np

from convert_to_trt.graph_builder import GraphBuilder
from mask_detector_ros.inference.fixed_slots import FREE_SLOTS

NMS_ROUNDS = 8
"""Rounds of the suppression below. A box that depends on a longer chain of overlapping boxes may be
wrong; on 40 photographs of data/faces 20 rounds gave the same boxes as 8."""


def overlaps(g: GraphBuilder, boxes: str, of_smaller: bool) -> str:
    """(K, K) intersection over union of (K, 4) boxes, or over the smaller of the two."""
    x1, y1, x2, y2 = g.columns(boxes, 4)
    zero = g.constant(0.0)

    def flat(value: str) -> str:
        return g.add("Transpose", value, perm=[1, 0])

    def extent(low: str, high: str) -> str:
        return g.add("Max", g.add("Sub", high, low), zero)

    area = g.add("Mul", extent(x1, x2), extent(y1, y2))
    width = extent(g.add("Max", x1, flat(x1)), g.add("Min", x2, flat(x2)))
    height = extent(g.add("Max", y1, flat(y1)), g.add("Min", y2, flat(y2)))
    shared = g.add("Mul", width, height)
    if of_smaller:
        whole = g.add("Min", area, flat(area))
    else:
        whole = g.add("Sub", g.add("Add", area, flat(area)), shared)
    return g.add("Div", shared, g.add("Max", whole, g.constant(1e-6)))


def ranks(g: GraphBuilder, slots: int) -> str:
    """(K, 1) numbers of the slots."""
    return g.constant(np.arange(slots)[:, None])


def suppress(
    g: GraphBuilder, boxes: str, scores: str, ranks: str, threshold: float, of_smaller: bool = False
) -> str:
    """Scores (K,) of sorted boxes (K, 4) with (K, 1) `ranks`, 0 for suppressed boxes.

    Greedy suppression has one solution: a box stays if no better one that stays overlaps it.
    Applying that rule repeatedly to all boxes at once converges to it from any start; after n
    rounds all boxes that depend on a chain of at most n others are correct.
    """
    above = g.add("Greater", overlaps(g, boxes, of_smaller), g.constant(threshold))
    better = g.add("Less", g.add("Transpose", ranks, perm=[1, 0]), ranks)
    rivals = g.add("Cast", g.add("And", above, better), to=1)
    # Empty slots come last: what they suppress is empty, too. The first round finds all kept.
    kept = g.add("Sub", g.constant(1.0), g.add("ReduceMax", rivals, axes=[1], keepdims=0))
    for _ in range(NMS_ROUNDS - 1):
        # No matrix product: TensorRT-RTX has none in float32 for Turing.
        rivalled = g.add("Mul", rivals, g.reshape(kept, 1, -1))
        worst = g.add("ReduceMax", rivalled, axes=[1], keepdims=0)
        kept = g.add("Sub", g.constant(1.0), worst)
    return g.add("Mul", scores, kept)


def merge(g: GraphBuilder, boxes: str, scores: str, slots: int, threshold: float) -> str:
    """Boxes (K, 4), each the score-weighted mean of itself and those it overlaps by more than the
    threshold, like `merge_boxes` for the boxes that suppression keeps."""
    above = g.add("Cast", g.add("Greater", overlaps(g, boxes, False), g.constant(threshold)), to=1)
    near = g.add("Max", above, g.constant(np.eye(slots, dtype=np.float32)))
    weights = g.add("Mul", near, g.reshape(scores, 1, slots))
    # No matrix product here either.
    each = g.add("Mul", g.reshape(weights, slots, slots, 1), g.reshape(boxes, 1, slots, 4))
    total = g.add("ReduceSum", weights, g.shape(1), keepdims=1)
    summed = g.add("ReduceSum", each, g.shape(1), keepdims=0)
    return g.add("Div", summed, g.add("Max", total, g.constant(1e-6)))


def reach(g: GraphBuilder, scores: str, threshold: float) -> str:
    """Set scores below the threshold to 0."""
    low = g.add("Less", scores, g.constant(threshold))
    return g.add("Where", low, g.constant(0.0), scores)


def best(g: GraphBuilder, scores: str, slots: int, *others: str) -> tuple[str, list[str]]:
    """The best `slots` scores, best first, and the corresponding rows of the other values."""
    top, index = g.many("TopK", [scores, g.shape(slots)], 2, axis=0)
    return top, [g.add("Gather", other, index, axis=0) for other in others]


def count(g: GraphBuilder, scores: str) -> str:
    """(1,) number of scores above 0."""
    positive = g.add("Cast", g.add("Greater", scores, g.constant(0.0)), to=1)
    return g.add("ReduceSum", positive, g.shape(0), keepdims=1)


def regress(g: GraphBuilder, boxes: str, offsets: str) -> str:
    """`bbox_regression`: (K, 4) boxes moved by offsets in units of their sides."""
    x1, y1, x2, y2 = g.columns(boxes, 4)
    width, height = g.add("Sub", x2, x1), g.add("Sub", y2, y1)
    sides = g.add("Concat", width, height, width, height, axis=1)
    return g.add("Add", boxes, g.add("Mul", offsets, sides))


def used(g: GraphBuilder, scores: str) -> str:
    """(1,) number of slots to the last score above 0 of sorted ones, at least 1."""
    return g.add("Cast", g.add("Max", count(g, scores), g.constant([1.0])), to=7)


def cut(g: GraphBuilder, value: str, number: str) -> str:
    """The first `number` of the K rows of a value."""
    return g.add("Slice", value, g.shape(0), number, g.shape(0), name=g.unique(FREE_SLOTS))


def refill(g: GraphBuilder, value: str, number: str, slots: int) -> str:
    """A (number, M) value with rows of zeros up to (slots, M)."""
    missing = g.add("Sub", g.shape(slots), number)
    pads = g.add("Concat", g.shape(0, 0), missing, g.shape(0), axis=0)
    return g.add("Pad", value, pads, g.constant(0.0), name=g.unique(FREE_SLOTS))
