# SPDX-License-Identifier: Apache-2.0
"""The cascade's steps on images (pyramid, resizing, crops) as ONNX nodes.

Images are (H, W, 3) float32. Like `imaging`, these parts read a crop from the level of the image
pyramid that is no smaller than it, but they do not round to whole grey levels.

Each part is made of the operations that ONNX Runtime computes fast on a CPU and TensorRT builds:
`Resize` and `GridSample` take there three and two times as long as the products and gathers here.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def resize(g: GraphBuilder, level: Level, height: int, width: int) -> Level:
    """ONNX graph nodes that scale a pyramid level to (height, width), like OpenCV's
    INTER_LINEAR."""
    vertical, horizontal = taps(level.height, height), taps(level.width, width)
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


def taps(size: int, wanted: int) -> NDArray[np.float64] | None:
    """(m, n) weights with which m pixels in a row make n of an image scaled to another size; None
    if no small block of pixels does."""
    parts = math.gcd(size, wanted)
    before, after = size // parts, wanted // parts
    if wanted > size or before > MAX_BLOCK:
        return None
    places = (np.arange(after) + 0.5) * before / after - 0.5
    distances = np.abs(np.arange(before)[:, None] - places)
    return np.maximum(1 - distances, 0)


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
class FlatLevels:
    """The pixels of all pyramid levels in one list.

    Attributes:
        value: (P, 3) pixels, level by level and row by row.
        sizes: height and width of each level.
    """

    value: str
    sizes: tuple[tuple[int, int], ...]


def flatten(g: GraphBuilder, levels: list[Level]) -> FlatLevels:
    """ONNX graph nodes that concatenate the pixels of all pyramid levels in one list, the image
    first."""
    flat = [g.reshape(level.value, level.height * level.width, 3) for level in levels]
    whole = g.add("Concat", *flat, axis=0) if len(flat) > 1 else flat[0]
    return FlatLevels(whole, tuple(map(_sides, levels)))


def crops(g: GraphBuilder, levels: FlatLevels, boxes: str, size: int) -> str:
    """`cut_squares` as ONNX graph nodes: (K, size, size, 3) crops of (K, 4) squares that `squares`
    made for this size, from the given levels."""
    source = _sources(g, levels, boxes, size)
    pixels, weights = _neighbours(g, source, size)
    columns, rows = g.many("Split", [pixels], 2, axis=1)
    across, down = g.many("Split", [weights], 2, axis=1)
    rows = g.add("Add", g.add("Mul", rows, source.stride), source.first)
    rows = g.reshape(rows, -1, 2 * size, 1)
    down = g.add("Mul", g.reshape(down, -1, 2 * size, 1), drawable(g, boxes, levels.sizes[0]))
    # Each weight for three channels: long rows of numbers are fast on a CPU.
    across = g.add("Mul", g.reshape(across, -1, 2 * size, 1), g.constant(np.ones(3)))
    sides = []
    for column, weight in zip(
        g.many("Split", [columns], 2, axis=2),
        g.many("Split", [across], 2, axis=1),
        strict=True,
    ):
        found = g.add("Gather", levels.value, g.add("Add", rows, column), axis=0)
        found = g.reshape(found, -1, 2 * size, size * 3)
        sides.append(g.add("Mul", found, g.reshape(weight, -1, 1, size * 3)))
    mixed = g.add("Mul", g.add("Add", *sides), down)
    return g.reshape(g.add("Add", *g.many("Split", [mixed], 2, axis=1)), -1, size, size, 3)


@dataclass(frozen=True)
class _Sources:
    """Where the crop of each square comes from.

    Attributes:
        corner: (K, 2, 1) x and y of the square's first corner in its level, less half a pixel.
        extent: (K, 2, 1) its side there.
        last: (K, 2, 1) column and row of the level's last pixel.
        stride, first: (K, 1, 1) int32 width of the level, and index of its first pixel.
    """

    corner: str
    extent: str
    last: str
    stride: str
    first: str


def _sources(g: GraphBuilder, levels: FlatLevels, boxes: str, size: int) -> _Sources:
    low, high = g.many("Split", [g.reshape(boxes, -1, 4, 1)], 2, axis=1)
    extent = g.add("Sub", high, low)
    side = g.add("ReduceMax", extent, axes=[1], keepdims=0)
    top_level = len(levels.sizes) - 1
    if not top_level:
        side = g.add("Mul", side, g.constant(0.0))
    level = g.reshape(level_of_sides(g, side, size, max(top_level, 1)), -1)

    def of_level(values: ArrayLike, dtype: type = np.float32) -> str:
        return g.add("Gather", g.constant(values, dtype), level, axis=0)

    heights, widths = (np.array(sides)[:, None, None] for sides in zip(*levels.sizes, strict=True))
    areas = heights * widths
    shrink = of_level(0.5 ** np.arange(len(areas))[:, None, None])
    return _Sources(
        corner=g.add("Sub", g.add("Mul", low, shrink), g.constant(0.5)),
        extent=g.add("Mul", extent, shrink),
        last=of_level(np.concatenate([widths, heights], axis=1) - 1),
        stride=of_level(widths, np.int32),
        first=of_level(np.cumsum(areas, axis=0) - areas, np.int32),
    )


def _neighbours(g: GraphBuilder, source: _Sources, size: int) -> tuple[str, str]:
    """(K, 2, 2 S) int32 columns and rows of the pixels before, then after each of S places, and
    their weights, 0 outside the image."""
    one, half = g.constant(1.0), g.constant(0.5)
    steps = g.constant((np.arange(size) + 0.5) / size)
    # Within the square, as if the image ended there.
    along = g.add("Max", g.add("Mul", steps, source.extent), half)
    along = g.add("Min", along, g.add("Sub", source.extent, half))
    places = g.add("Add", source.corner, along)
    before = g.add("Floor", places)
    share = g.add("Sub", places, before)
    pixels = g.add("Concat", before, g.add("Add", before, one), axis=2)
    weights = g.add("Concat", g.add("Sub", one, share), share, axis=2)
    inside = g.add("Min", g.add("Relu", pixels), source.last)
    weights = g.add("Mul", weights, g.add("Cast", g.add("Equal", inside, pixels), to=1))
    return g.add("Cast", inside, to=6), weights


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
