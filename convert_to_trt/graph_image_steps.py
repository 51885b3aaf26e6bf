# SPDX-License-Identifier: Apache-2.0
"""The cascade's steps on pixels, as parts of an ONNX graph.

Images are (H, W, 3) float32. Like `imaging`, these parts read a crop from the level of the image
pyramid that is no smaller than it, but they do not round to whole grey levels.

Each part is made of the operations that ONNX Runtime computes fast on a CPU and TensorRT builds:
`Resize` and `GridSample` take there three and two times as long as the products and gathers here.
"""

from __future__ import annotations

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
    """A level of the image pyramid.

    Attributes:
        value: (height, width, 3) pixels.
        height, width: its size.
    """

    value: str
    height: int
    width: int


def base_level(g: GraphBuilder, image: str, height: int, width: int) -> Level:
    """A (height, width, 3) uint8 image as level 0."""
    return Level(g.add("Cast", image, to=1), height, width)


def with_smaller(g: GraphBuilder, levels: list[Level], smallest: int) -> list[Level]:
    """The levels, continued down to one with a side below `smallest`."""
    levels = list(levels)
    while min(_sides(levels[-1])) >= smallest:
        levels.append(halve(g, levels[-1]))
    return levels


def halve(g: GraphBuilder, level: Level) -> Level:
    """The next level: half the size, rounded up, each pixel the mean of 2x2."""
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
    """A level scaled to (height, width), as OpenCV's INTER_LINEAR."""
    vertical, horizontal = _taps(level.height, height), _taps(level.width, width)
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


def _taps(size: int, wanted: int) -> NDArray[np.float64] | None:
    """(m, n) weights with which m pixels in a row make n of the scaled image; None if no small
    block of pixels does."""
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
    """(H, W, 3) to (3, H, W)."""
    return g.add("Transpose", value, perm=[2, 0, 1])


def pyramid_level(g: GraphBuilder, level: Level, height: int, width: int) -> str:
    """(1, 3, height, width) of P-Net's pyramid: sampled at twice that, averaged over 2x2."""
    double = resize(g, level, 2 * height, 2 * width)
    return g.reshape(to_channels_first(g, halve(g, double).value), 1, 3, height, width)


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
class FlatLevels:
    """The pixels of all levels in one list.

    Attributes:
        value: (P, 3) pixels, level by level and row by row.
        sizes: height and width of each level.
    """

    value: str
    sizes: tuple[tuple[int, int], ...]


def flatten(g: GraphBuilder, levels: list[Level]) -> FlatLevels:
    """All levels in one list, the image first."""
    flat = [g.reshape(level.value, level.height * level.width, 3) for level in levels]
    whole = g.add("Concat", *flat, axis=0) if len(flat) > 1 else flat[0]
    return FlatLevels(whole, tuple(map(_sides, levels)))


def are_larger(g: GraphBuilder, boxes: str, size: int) -> str:
    """() whether any of the squares that `squares` made for this size is read from a level above
    the image."""
    x1, _, x2, _ = g.columns(boxes, 4)
    largest = g.add("ReduceMax", g.add("Sub", x2, x1), axes=[0, 1], keepdims=0)
    return g.add("Less", g.constant(2 * size - 0.5), largest)


def crops(g: GraphBuilder, levels: FlatLevels, boxes: str, size: int) -> str:
    """`cut_squares`: (K, size, size, 3) of (K, 4) squares that `squares` made for this size, from
    the given levels."""
    x1, y1, x2, _ = g.columns(boxes, 4)
    side = g.add("Sub", x2, x1)
    level = g.add("Mul", side, g.constant(0.0))
    for power in range(1, len(levels.sizes)):
        level = g.add("Add", level, _is_level(g, side, size, power, 1.0))
    index = g.reshape(g.add("Cast", level, to=7), -1)

    def of_level(values: ArrayLike, dtype: type = np.float32) -> str:
        table = g.constant(np.asarray(values)[:, None], dtype)
        return g.add("Gather", table, index, axis=0)

    shrink = of_level(0.5 ** np.arange(len(levels.sizes)))
    extent = g.add("Mul", side, shrink)
    steps = g.constant((np.arange(size)[None] + 0.5) / size)
    shown = _drawable(g, boxes, levels.sizes[0])
    ends = []
    for low, axis in ((x1, 1), (y1, 0)):
        length = of_level([sides[axis] for sides in levels.sizes])
        start = g.add("Mul", low, shrink)
        along = g.add("Add", start, g.add("Mul", steps, extent))
        # Within the square, as if the image ended there.
        half = g.constant(0.5)
        along = g.add("Max", along, g.add("Add", start, half))
        along = g.add("Min", along, g.add("Sub", g.add("Add", start, extent), half))
        ends.append(_neighbours(g, g.add("Sub", along, half), length))
    (columns, across), (rows, down) = ends
    width = of_level([width for _, width in levels.sizes], np.int32)
    areas = [height * width for height, width in levels.sizes]
    first = of_level(np.cumsum([0, *areas])[:-1], np.int32)
    rows = [g.add("Add", g.add("Mul", row, width), first) for row in rows]
    rows = [g.reshape(row, -1, size, 1) for row in rows]
    columns = [g.reshape(column, -1, 1, size) for column in columns]
    across = [
        g.reshape(g.add("Mul", g.reshape(w, -1, size, 1), g.constant(np.ones(3))), -1, 1, size * 3)
        for w in across
    ]
    down = [g.reshape(g.add("Mul", w, shown), -1, size, 1) for w in down]
    total = ""
    for column, horizontal in zip(columns, across, strict=True):
        mixed = ""
        for row, vertical in zip(rows, down, strict=True):
            pixels = g.add("Gather", levels.value, g.add("Add", row, column), axis=0)
            weighted = g.add("Mul", g.reshape(pixels, -1, size, size * 3), vertical)
            mixed = g.add("Add", mixed, weighted) if mixed else weighted
        mixed = g.add("Mul", mixed, horizontal)
        total = g.add("Add", total, mixed) if total else mixed
    return g.reshape(total, -1, size, size, 3)


def _neighbours(g: GraphBuilder, places: str, length: str) -> tuple[list[str], list[str]]:
    """The pixel before and after each of (K, S) places, int32, and their weights, 0 outside."""
    one, zero = g.constant(1.0), g.constant(0.0)
    last = g.add("Sub", length, one)
    before = g.add("Floor", places)
    share = g.add("Sub", places, before)
    pixels, weights = [], []
    for pixel, weight in ((before, g.add("Sub", one, share)), (g.add("Add", before, one), share)):
        inside = g.add("Min", g.add("Max", pixel, zero), last)
        is_inside = g.add("Cast", g.add("Equal", inside, pixel), to=1)
        pixels.append(g.add("Cast", inside, to=6))
        weights.append(g.add("Mul", weight, is_inside))
    return pixels, weights


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
