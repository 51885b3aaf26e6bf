# SPDX-License-Identifier: Apache-2.0
"""The cascade's steps on boxes and scores (suppression, sorting, regression) as ONNX nodes.

Each part corresponds to a function in `mask_detector_ros`, with slots instead of a variable number
of boxes; `graph_image_steps` has the steps on pixels. The parts use only operations that TensorRT
8.5 to 11 and TensorRT-RTX build, which excludes NonMaxSuppression and NonZero.

On a CPU, which would compute all empty slots, the steps of `graph_free_steps` take their place.
"""

import numpy as np

from convert_to_trt.graph_builder import GraphBuilder
from mask_detector_ros.mtcnn.two_stage_cascade import TINY

NMS_ROUNDS = 8
"""Rounds of the suppression below. A box that depends on a longer chain of overlapping boxes may be
wrong; on 40 photographs of data/faces 20 rounds gave the same boxes as 8."""


def overlapping(g: GraphBuilder, boxes: str, threshold: float, of_smaller: bool = False) -> str:
    """ONNX graph nodes for (K, K): whether the intersection of two of (K, 4) boxes exceeds a share
    of their union, or of the smaller box."""
    x1, y1, x2, y2 = g.many("Split", [boxes], 4, axis=1)
    shared = g.add("Mul", _overlap(g, x1, x2), _overlap(g, y1, y2))
    sides = (g.add("Relu", g.add("Sub", last, first)) for first, last in ((x1, x2), (y1, y2)))
    # shared / (a + b - shared) > t is shared > t / (1 + t) * (a + b), which divides nothing by 0.
    share = threshold if of_smaller else threshold / (1 + threshold)
    area = g.add("Mul", g.add("Mul", *sides), g.constant(share))
    least = g.add("Min" if of_smaller else "Add", area, g.reshape(area, 1, -1))
    return g.add("Greater", shared, least)


def _overlap(g: GraphBuilder, first: str, last: str) -> str:
    """(K, K) length that two of K intervals share, from their (K, 1) ends."""
    end = g.add("Min", last, g.reshape(last, 1, -1))
    start = g.add("Max", first, g.reshape(first, 1, -1))
    return g.add("Relu", g.add("Sub", end, start))


def ranks(g: GraphBuilder, slots: int) -> str:
    """ONNX graph nodes for the (K, 1) numbers of the box slots."""
    return g.constant(np.arange(slots)[:, None])


def suppress(
    g: GraphBuilder, boxes: str, scores: str, ranks: str, threshold: float, of_smaller: bool = False
) -> str:
    """ONNX graph nodes for non-maximum suppression: scores (K,) of sorted boxes (K, 4) with (K, 1)
    `ranks`, 0 for suppressed boxes.

    Greedy suppression has one solution: a box stays if no better one that stays overlaps it.
    Applying that rule repeatedly to all boxes at once converges to it from any start; after n
    rounds all boxes that depend on a chain of at most n others are correct.
    """
    above = overlapping(g, boxes, threshold, of_smaller)
    better = g.add("Less", g.reshape(ranks, 1, -1), ranks)
    rivals = g.add("Cast", g.add("And", above, better), to=1)
    # 1 for a score above 0: empty slots suppress nothing.
    kept = g.add("HardSigmoid", g.reshape(scores, -1, 1), alpha=1e6, beta=0.0)
    for _ in range(NMS_ROUNDS):
        # 1 without a rival that is kept, else 0. TensorRT-RTX has no matrix product in float32 for
        # Turing; `to_plain_layers` replaces it.
        kept = g.add("HardSigmoid", g.add("MatMul", rivals, kept), alpha=-1.0, beta=1.0)
    return g.add("Mul", scores, g.reshape(kept, -1))


def merge(g: GraphBuilder, boxes: str, scores: str, slots: int, threshold: float) -> str:
    """ONNX graph nodes for box voting, like `merge_boxes` for the boxes that suppression keeps:
    each of (K, 4) boxes becomes the score-weighted mean of itself and those it overlaps by more
    than the threshold."""
    above = g.add("Cast", overlapping(g, boxes, threshold), to=1)
    near = g.add("Max", above, g.constant(np.eye(slots, dtype=np.float32)))
    weights = g.add("Mul", near, g.reshape(scores, 1, slots))
    # No matrix product here either.
    each = g.add("Mul", g.reshape(weights, slots, slots, 1), g.reshape(boxes, 1, slots, 4))
    total = g.add("ReduceSum", weights, g.shape(1), keepdims=1)
    summed = g.add("ReduceSum", each, g.shape(1), keepdims=0)
    return g.add("Div", summed, g.add("Max", total, g.constant(1e-6)))


def reach(g: GraphBuilder, scores: str, threshold: float) -> str:
    """ONNX graph nodes that set box scores below the threshold to 0."""
    low = g.add("Less", scores, g.constant(threshold))
    return g.add("Where", low, g.constant(0.0), scores)


def best(g: GraphBuilder, scores: str, slots: int, *others: str) -> tuple[str, list[str]]:
    """ONNX graph nodes that select the best `slots` scores, best first, and the same rows of the
    other values."""
    top, index = g.many("TopK", [scores, g.shape(slots)], 2, axis=0)
    return top, [g.add("Gather", other, index, axis=0) for other in others]


def combine(g: GraphBuilder, proposed: str, decided: str) -> str:
    """ONNX graph nodes for `combine_scores` of the two-stage cascade, and 0 where one is 0."""

    def root(first: str, second: str) -> str:
        product = g.add("Mul", g.add("Mul", first, first), second)
        return g.add("Pow", product, g.constant(1 / 3))

    one = g.constant(1.0)
    face = root(proposed, decided)
    other = root(g.add("Sub", one, proposed), g.add("Sub", one, decided))
    return g.add("Div", face, g.add("Add", g.add("Add", face, other), g.constant(TINY)))


def count(g: GraphBuilder, scores: str) -> str:
    """ONNX graph nodes for the (1,) number of boxes with a score above 0."""
    positive = g.add("Cast", g.add("Greater", scores, g.constant(0.0)), to=1)
    return g.add("ReduceSum", positive, g.shape(0), keepdims=1)


def regress(g: GraphBuilder, boxes: str, offsets: str) -> str:
    """`bbox_regression` as ONNX graph nodes: (K, 4) boxes moved by offsets in units of their
    sides."""
    low, high = g.many("Split", [boxes], 2, axis=1)
    sides = g.add("Sub", high, low)
    moves = g.add("Mul", offsets, g.add("Concat", sides, sides, axis=1))
    return g.add("Add", boxes, moves)
