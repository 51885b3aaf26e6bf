# SPDX-License-Identifier: Apache-2.0
"""The cascade's steps between the networks, as parts of a static ONNX graph.

Each part corresponds to a function in `mask_detector_ros`, with a fixed number of slots instead of
a variable number of boxes. The parts use only operations that TensorRT 8.5 to 11 and TensorRT-RTX
build, which excludes NonMaxSuppression, NonZero and RoiAlign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convert_to_trt.graph_builder import GraphBuilder
from mask_detector_ros.imaging.crops import MIN_VISIBLE_FRACTION

NMS_ROUNDS = 8
"""Rounds of the suppression below. A box that depends on a longer chain of overlapping boxes may be
wrong; on 40 photographs of data/faces 20 rounds gave the same boxes as 8."""

GAP = 2
"""Black pixels between two packed levels, so that sampling over an edge reads black."""


def round_pixels(g: GraphBuilder, value: str) -> str:
    """Whole numbers, as images of bytes hold."""
    return g.add("Floor", g.add("Add", value, g.constant(0.5)))


def halve(g: GraphBuilder, image: str, height: int, width: int) -> str:
    """A (1, 3, height, width) image at half its size, rounded up, as `ImagePyramid` halves it."""
    for axis, size in ((2, height), (3, width)):
        if size % 2:
            last = [g.constant([at], np.int64) for at in (size - 1, size, axis)]
            image = g.add("Concat", image, g.add("Slice", image, *last), axis=axis)
    return round_pixels(g, g.add("AveragePool", image, kernel_shape=[2, 2], strides=[2, 2]))


def resize(g: GraphBuilder, image: str, height: int, width: int) -> str:
    """A (1, 3, H, W) image at (height, width), as OpenCV's INTER_LINEAR."""
    sizes = g.shape(1, 3, height, width)
    mode = "half_pixel"
    inputs = [image, "", "", sizes]
    return g.add("Resize", *inputs, mode="linear", coordinate_transformation_mode=mode)


def pyramid_level(g: GraphBuilder, image: str, height: int, width: int) -> str:
    """A (1, 3, H, W) image at (height, width): sampled at twice that, averaged over 2x2."""
    double = resize(g, image, 2 * height, 2 * width)
    double = round_pixels(g, double)
    return round_pixels(g, g.add("AveragePool", double, kernel_shape=[2, 2], strides=[2, 2]))


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


def suppress(
    g: GraphBuilder, boxes: str, scores: str, slots: int, threshold: float, of_smaller: bool = False
) -> str:
    """Scores (K,) of sorted boxes (K, 4), 0 for suppressed boxes.

    Greedy suppression has one solution: a box stays if no better one that stays overlaps it.
    Applying that rule to all boxes at once, again and again, reaches it from any start; after
    n rounds all are right that depend on a chain of at most n others.
    """
    better = g.constant(np.triu(np.ones((slots, slots), np.float32), 1))
    above = g.add("Greater", overlaps(g, boxes, of_smaller), g.constant(threshold))
    rivals = g.add("Mul", g.add("Cast", above, to=1), better)
    # Empty slots come last: what they suppress is empty, too. The first round finds all kept.
    kept = g.add("Sub", g.constant(1.0), g.add("ReduceMax", rivals, axes=[0], keepdims=0))
    for _ in range(NMS_ROUNDS - 1):
        # No matrix product: TensorRT-RTX has none in float32 for Turing.
        rivalled = g.add("Mul", rivals, g.reshape(kept, slots, 1))
        worst = g.add("ReduceMax", rivalled, axes=[0], keepdims=0)
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
    """Scores, 0 below the threshold."""
    low = g.add("Less", scores, g.constant(threshold))
    return g.add("Where", low, g.constant(0.0), scores)


def best(g: GraphBuilder, scores: str, slots: int, *others: str) -> tuple[str, list[str]]:
    """The best `slots` scores, best first, and the rows of the others that belong to them."""
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


def squares(g: GraphBuilder, boxes: str, margin: float, size: int, halvings: int) -> str:
    """`square_slices`: (K, 4) squares around (K, 4) boxes, in whole pixels of a pyramid level up to
    the given one."""
    x1, y1, x2, y2 = g.columns(boxes, 4)
    longer = g.add("Max", g.add("Sub", x2, x1), g.add("Sub", y2, y1))
    side = g.add("Round", g.add("Mul", longer, g.constant(1 + 2 * margin)))
    pixel = g.constant(1.0)
    for power in range(1, halvings + 1):
        pixel = g.add("Add", pixel, _is_level(g, side, size, power, 2.0 ** (power - 1)))
    whole = g.add("Floor", g.add("Div", side, pixel))

    def edges(low: str, high: str) -> tuple[str, str]:
        twice = g.add("Sub", g.add("Div", g.add("Add", low, high), pixel), whole)
        start = g.add("Round", g.add("Mul", twice, g.constant(0.5)))
        return g.add("Mul", start, pixel), g.add("Mul", g.add("Add", start, whole), pixel)

    (left, right), (top, bottom) = edges(x1, x2), edges(y1, y2)
    return g.add("Concat", left, top, right, bottom, axis=1)


def _is_level(g: GraphBuilder, side: str, size: int, power: int, value: float) -> str:
    """(K, 1) the value where a side can be halved so often and still be no smaller than size."""
    large = g.add("Less", g.constant(size * 2.0**power - 0.5), side)
    return g.add("Mul", g.add("Cast", large, to=1), g.constant(value))


@dataclass(frozen=True)
class PackedLevels:
    """The packed pyramid: the image, and its smaller levels below each other on the right.

    Attributes:
        value: (1, 3, height, width) of the packed pyramid.
        size: height and width of the packed pyramid.
        image: height and width of the image.
        levels: top, left, height and width of each level.
    """

    value: str
    size: tuple[int, int]
    image: tuple[int, int]
    levels: tuple[tuple[int, int, int, int], ...]


def pack_levels(g: GraphBuilder, halves: list[tuple[str, int, int]]) -> PackedLevels:
    """Pack the levels of an image pyramid, (1, 3, height, width) each, into one image."""
    (_, height, width), *rest = halves
    levels, top = [(0, 0, height, width)], 0
    for _, h, w in rest:
        levels.append((top, width + GAP, h, w))
        top += h + GAP
    rows = max(height, top) + GAP
    columns = width + GAP + (rest[0][2] if rest else 0) + GAP

    def pad(value: str, bottom: int, right: int) -> str:
        pads = g.shape(0, 0, 0, 0, 0, 0, bottom, right)
        return g.add("Pad", value, pads, g.constant(0.0))

    right = columns - width - GAP
    column = [pad(value, GAP, right - w) for value, h, w in rest]
    filled = sum(h + GAP for _, h, _ in rest)
    image = pad(halves[0][0], rows - height, GAP)
    if not column:
        return PackedLevels(pad(image, 0, right), (rows, columns), (height, width), tuple(levels))
    stacked = g.add("Concat", *column, axis=2)
    whole = g.add("Concat", image, pad(stacked, rows - filled, 0), axis=3)
    return PackedLevels(whole, (rows, columns), (height, width), tuple(levels))


def crops(g: GraphBuilder, packed: PackedLevels, boxes: str, slots: int, size: int) -> str:
    """`cut_squares`: (K, 3, size, size) of (K, 4) squares that `squares` made for this size."""
    x1, y1, x2, _ = g.columns(boxes, 4)
    side = g.add("Sub", x2, x1)
    level = g.constant(np.zeros((1, 1), np.float32))
    for power in range(1, len(packed.levels)):
        level = g.add("Add", level, _is_level(g, side, size, power, 1.0))
    index = g.reshape(
        g.add("Cast", g.add("Mul", level, g.constant(np.ones((slots, 1)))), to=7), slots
    )

    def of_level(values: list[float]) -> str:
        return g.add("Gather", g.constant(np.array(values)[:, None]), index, axis=0)

    shrink = of_level([0.5**power for power in range(len(packed.levels))])
    extent = g.add("Mul", side, shrink)
    steps = g.constant((np.arange(size)[None] + 0.5) / size)
    axes = []
    for low, axis in ((x1, 1), (y1, 0)):
        first = of_level([float(lv[axis]) for lv in packed.levels])
        length = of_level([float(lv[2 + axis]) for lv in packed.levels])
        start = g.add("Mul", low, shrink)
        along = g.add("Add", start, g.add("Mul", steps, extent))
        # Within the square, as if the image ended there; and no farther out than the black
        # beside a level.
        half = g.constant(0.5)
        along = g.add("Max", along, g.add("Add", start, half))
        along = g.add("Min", along, g.add("Sub", g.add("Add", start, extent), half))
        along = g.add("Max", along, g.constant(-0.5))
        along = g.add("Min", along, g.add("Add", length, half))
        place = g.add("Add", along, first)
        axes.append(
            g.add("Sub", g.add("Mul", place, g.constant(2 / packed.size[axis])), g.constant(1.0))
        )
    full = g.shape(slots, size, size, 1)
    across = g.add("Expand", g.reshape(axes[0], slots, 1, size, 1), full)
    down = g.add("Expand", g.reshape(axes[1], slots, size, 1, 1), full)
    grid = g.reshape(g.add("Concat", across, down, axis=3), 1, slots * size, size, 2)
    sampled = g.add("GridSample", packed.value, grid, mode="bilinear", align_corners=0)
    stacked = g.reshape(sampled, 3, slots, size, size)
    patches = round_pixels(g, g.add("Transpose", stacked, perm=[1, 0, 2, 3]))
    return g.add("Mul", patches, g.reshape(_drawable(g, boxes, packed.image), slots, 1, 1, 1))


def _drawable(g: GraphBuilder, boxes: str, image: tuple[int, int]) -> str:
    """(K, 1) 1 for squares with enough area inside the image, 0 for others."""
    height, width = image
    limits = g.constant([[width, height, width, height]])
    visible = g.add("Min", g.add("Max", boxes, g.constant(0.0)), limits)
    shown = _area(g, visible)
    enough = g.add("Mul", _area(g, boxes), g.constant(MIN_VISIBLE_FRACTION))
    seen = g.add("Greater", shown, g.constant(0.0))
    is_hidden = g.add("Less", shown, enough)
    return g.add("Cast", g.add("And", seen, g.add("Not", is_hidden)), to=1)


def _area(g: GraphBuilder, boxes: str) -> str:
    x1, y1, x2, y2 = g.columns(boxes, 4)
    return g.add("Mul", g.add("Sub", x2, x1), g.add("Sub", y2, y1))
