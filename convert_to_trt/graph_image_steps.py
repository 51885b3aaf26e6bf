# SPDX-License-Identifier: Apache-2.0
"""The cascade's steps on images (pyramid, resizing, crops) as ONNX nodes.

Images are (H, W, 3) float32. Like `imaging`, these parts read a crop from the level of the image
pyramid that is no smaller than it, but they do not round to whole grey levels.

Each part is made of operations that ONNX Runtime has on CUDA and TensorRT builds. On a CPU `Resize`
takes three times as long as the products here.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert_to_trt.graph_builder import GraphBuilder
from mask_detector_ros.imaging.crops import MIN_VISIBLE_FRACTION

MAX_BLOCK = 16
"""Pixels in a row that one product turns into fewer; other factors take `Resize`."""


@dataclass(frozen=True)
class Level:
    """A level of the image pyramid in an ONNX graph.

    Attributes:
        value: (height, width, 3) pixels.
        height, width: its size.
    """

    value: str
    height: int
    width: int


def base_level(g: GraphBuilder, image: str, height: int, width: int) -> Level:
    """ONNX graph nodes for level 0 of the image pyramid, from a (height, width, 3) uint8 image."""
    return Level(g.add("Cast", image, to=1), height, width)


def with_smaller(g: GraphBuilder, levels: list[Level], smallest: int) -> list[Level]:
    """ONNX graph nodes that continue the pyramid levels down to one with a side below
    `smallest`."""
    levels = list(levels)
    while min(_sides(levels[-1])) >= smallest:
        levels.append(halve(g, levels[-1]))
    return levels


def halve(g: GraphBuilder, level: Level) -> Level:
    """ONNX graph nodes for the next pyramid level: half the size, rounded up, each pixel the mean
    of 2x2."""
    value, sides = level.value, [level.height, level.width]
    for axis, side in enumerate(sides):
        if side % 2:
            last = [g.constant([at], np.int64) for at in (side - 1, side, axis)]
            value = g.add("Concat", value, g.add("Slice", value, *last), axis=axis)
    rows, columns = (-(-side // 2) for side in sides)
    pairs = g.reshape(value, rows, 2, 2 * columns * 3)
    means = g.add("MatMul", g.constant([[0.5, 0.5]]), pairs)
    return _product_along_rows(g, means, rows, columns, np.full((2, 1), 0.5))


def resize(g: GraphBuilder, level: Level, height: int, width: int, power: int = 0) -> Level:
    """ONNX graph nodes that scale a pyramid level, or the one `power` levels above it, to (height,
    width), like OpenCV's INTER_LINEAR."""
    vertical, horizontal = taps(level.height, height, power), taps(level.width, width, power)
    if vertical is None or horizontal is None:
        channels_first = g.reshape(to_channels_first(g, level.value), 1, 3, *_sides(level))
        sizes = g.shape(1, 3, height, width)
        mode = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        scaled = g.add("Resize", channels_first, "", "", sizes, **mode)
        scaled = g.add("Transpose", g.reshape(scaled, 3, height, width), perm=[1, 2, 0])
        return Level(scaled, height, width)
    block, _ = vertical.shape
    rows = g.reshape(level.value, level.height // block, block, level.width * 3)
    rows = g.add("MatMul", g.constant(vertical.T), rows)
    return _product_along_rows(g, rows, height, width, horizontal)


def taps(size: int, wanted: int, power: int = 0) -> NDArray[np.float64] | None:
    """(m, n) weights with which m pixels in a row make n of an image that is halved `power` times
    and scaled to another size; None if no small block of pixels does."""
    size, rest = divmod(size, 2**power)
    if rest:
        return None
    parts = math.gcd(size, wanted)
    before, after = size // parts, wanted // parts
    if wanted > size or before > MAX_BLOCK:
        return None
    places = (np.arange(after) + 0.5) * before / after - 0.5
    distances = np.abs(np.arange(before)[:, None] - places)
    return np.repeat(np.maximum(1 - distances, 0), 2**power, axis=0) / 2**power


def _product_along_rows(
    g: GraphBuilder, value: str, height: int, width: int, taps: NDArray[np.float64]
) -> Level:
    """(height, width, 3) pixels from blocks of m in a row, with (m, n) weights."""
    before, after = taps.shape
    blocks = g.reshape(value, height * width // after, before * 3)
    product = g.add("Gemm", blocks, g.constant(np.kron(taps, np.eye(3))))
    return Level(g.reshape(product, height, width, 3), height, width)


def _sides(level: Level) -> tuple[int, int]:
    return level.height, level.width


def to_channels_first(g: GraphBuilder, value: str) -> str:
    """ONNX graph nodes that transpose an image from (H, W, 3) to (3, H, W)."""
    return g.add("Transpose", value, perm=[2, 0, 1])


def pyramid_level(g: GraphBuilder, level: Level, height: int, width: int) -> str:
    """ONNX graph nodes for a (1, 3, height, width) level of P-Net's pyramid: sampled at twice that,
    averaged over 2x2."""
    double = resize(g, level, 2 * height, 2 * width)
    return g.reshape(to_channels_first(g, halve(g, double).value), 1, 3, height, width)


def squares(g: GraphBuilder, boxes: str, margin: float, size: int, top_level: int) -> str:
    """`square_slices` as ONNX graph nodes: (K, 4) squares around (K, 4) boxes, in whole pixels of a
    pyramid level up to the given one."""
    low, high = g.many("Split", [boxes], 2, axis=1)
    longer = g.add("ReduceMax", g.add("Sub", high, low), axes=[1], keepdims=1)
    side = g.add("Round", g.add("Mul", longer, g.constant(1 + 2 * margin)))
    level = level_of_sides(g, side, size, top_level)
    pixel = g.add("Gather", g.constant(2.0 ** np.arange(top_level + 1)), level, axis=0)
    whole = g.add("Floor", g.add("Div", side, pixel))
    twice = g.add("Sub", g.add("Div", g.add("Add", low, high), pixel), whole)
    start = g.add("Round", g.add("Mul", twice, g.constant(0.5)))
    ends = g.add("Concat", start, g.add("Add", start, whole), axis=1)
    return g.add("Mul", ends, pixel)


def level_of_sides(g: GraphBuilder, side: str, size: int, top_level: int) -> str:
    """ONNX graph nodes for the (K, 1) int64 pyramid levels of crops: how often (K, 1) sides can be
    halved and still be no smaller than size."""
    limits = g.constant(size * 2.0 ** np.arange(1, top_level + 1)[None] - 0.5)
    above = g.add("Cast", g.add("Greater", side, limits), to=1)
    return g.add("Cast", g.add("ReduceSum", above, g.shape(1), keepdims=1), to=7)


@dataclass(frozen=True)
class StackedLevels:
    """All pyramid levels below each other in one image, each within a black border.

    Attributes:
        value: (1, 3, H, W) pixels.
        heights, widths: sizes of the levels.
    """

    value: str
    heights: NDArray[Any]
    widths: NDArray[Any]


def stack(g: GraphBuilder, levels: list[Level]) -> StackedLevels:
    """ONNX graph nodes that put all pyramid levels into one image, the frame first."""
    heights, widths = (np.array(sides) for sides in zip(*map(_sides, levels), strict=True))
    width, height = widths[0] + 2, (heights + 2).sum()
    padded = [
        g.add("Pad", each.value, g.shape(1, 1, 0, 1, width - each.width - 1, 0), g.constant(0.0))
        for each in levels
    ]
    whole = g.add("Concat", *padded, axis=0)
    value = g.reshape(to_channels_first(g, whole), 1, 3, height, width)
    return StackedLevels(value, heights, widths)


def crops(g: GraphBuilder, levels: StackedLevels, boxes: str, size: int) -> str:
    """`cut_squares` as ONNX graph nodes: (K, size, size, 3) crops of (K, 4) squares that `squares`
    made for this size, from the given levels.

    All in one `GridSample`: on a GPU the number of nodes decides.
    """
    heights, widths, half = levels.heights, levels.widths, g.constant(0.5)
    first_rows = 1 + np.cumsum(heights + 2) - (heights + 2)
    # `GridSample` takes coordinates from -1 to 1 for the first and the last pixel.
    scale = 2 / (np.array([widths[0] + 2, (heights + 2).sum()]) - 1)
    starts = np.stack([np.ones(len(heights)), first_rows], axis=1) * scale - 1
    shrink = 0.5 ** np.arange(len(heights))
    top_level = max(len(heights) - 1, 1)
    of_levels = np.column_stack([shrink, widths, heights, starts])[:, :, None]
    of_levels = of_levels[np.minimum(np.arange(top_level + 1), len(heights) - 1)]

    low, high = g.many("Split", [g.reshape(boxes, -1, 4, 1)], 2, axis=1)
    extent = g.add("Sub", high, low)
    side = g.add("ReduceMax", extent, axes=[1], keepdims=0)
    level = g.reshape(level_of_sides(g, side, size, top_level), -1)
    row = g.add("Gather", g.constant(of_levels), level, axis=0)
    factor, end, start = g.many("Split", [row, g.shape(1, 2, 2)], 3, axis=1)
    extent = g.add("Mul", extent, factor)
    # (K, 2, S) x and y of each pixel of the crop: within the square, as if the image ended there.
    along = g.add("Max", g.add("Mul", g.constant((np.arange(size) + 0.5) / size), extent), half)
    along = g.add("Min", along, g.add("Sub", extent, half))
    places = g.add("Add", g.add("Sub", g.add("Mul", low, factor), half), along)
    # Outside the level: the black pixels around it.
    places = g.add("Max", g.add("Min", places, end), g.constant(-1.0))
    places = g.add("Add", g.add("Mul", places, g.constant(scale[None, :, None])), start)
    x, y = g.many("Split", [places], 2, axis=1)
    is_x = g.constant([True, False], np.bool_)
    grid = g.add("Where", is_x, g.reshape(x, -1, 1, size, 1), g.reshape(y, -1, size, 1, 1))
    mode = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": 1}
    found = g.add("GridSample", levels.value, g.reshape(grid, 1, -1, size, 2), **mode)
    found = g.add("Transpose", g.reshape(found, 3, -1, size), perm=[1, 2, 0])
    shown = drawable(g, boxes, (heights[0], widths[0]))
    return g.add("Mul", g.reshape(found, -1, size, size, 3), g.reshape(shown, -1, 1, 1, 1))


def drawable(g: GraphBuilder, boxes: str, image: tuple[int, int]) -> str:
    """ONNX graph nodes for (K, 1, 1): 1 for squares with enough area inside the (height, width) of
    the image to be cropped, 0 for others."""
    height, width = image
    limits = g.constant([[width, height, width, height]])
    visible = g.add("Min", g.add("Relu", boxes), limits)
    shown = _area(g, visible)
    enough = g.add("Mul", _area(g, boxes), g.constant(MIN_VISIBLE_FRACTION))
    # Above 0, and not less than enough.
    least = g.add("Max", enough, g.constant(np.finfo(np.float32).tiny))
    hidden = g.add("Cast", g.add("Less", shown, least), to=1)
    return g.reshape(g.add("Sub", g.constant(1.0), hidden), -1, 1, 1)


def _area(g: GraphBuilder, boxes: str) -> str:
    low, high = g.many("Split", [boxes], 2, axis=1)
    return g.add("ReduceProd", g.add("Sub", high, low), axes=[1], keepdims=1)
