# SPDX-License-Identifier: Apache-2.0
"""Steps of a cascade in one graph whose work depends on the frame: lists instead of slots, and one
crop at a time.

ONNX Runtime runs them in a fraction of the time of slots. TensorRT has no such operations, and
takes the steps of `graph_box_steps` and `graph_image_steps`, see `inference/fixed_slots.py`.
"""

import numpy as np

from convert_to_trt import graph_image_steps as images
from convert_to_trt.graph_builder import GraphBuilder

STRIP_VALUES = 2**16
"""Maximum number of values of a strip of the frame, so that it stays in a core's cache."""


def select(g: GraphBuilder, scores: str, threshold: float, *values: str) -> list[str]:
    """ONNX graph nodes that select the (K,) scores from the threshold on, and the same rows of the
    other values."""
    reached = g.add("GreaterOrEqual", scores, g.constant(threshold))
    return [g.add("Compress", value, reached, axis=0) for value in (scores, *values)]


def suppress(g: GraphBuilder, boxes: str, scores: str, threshold: float) -> str:
    """ONNX graph nodes for non-maximum suppression: (M,) indices of the (N, 4) boxes that remain,
    best score first."""
    boxes = g.add("Unsqueeze", boxes, g.shape(0))
    scores = g.add("Unsqueeze", scores, g.shape(0, 1))
    limits = g.constant([np.iinfo(np.int32).max], np.int64), g.constant([threshold])
    found = g.add("NonMaxSuppression", boxes, scores, *limits)
    return g.add("Gather", found, g.constant(2, np.int64), axis=1)


def first(g: GraphBuilder, values: str, count: int) -> str:
    """ONNX graph nodes that select the first `count` rows."""
    return g.add("Slice", values, g.shape(0), g.shape(count), g.shape(0))


def excess(g: GraphBuilder, values: str, count: int) -> str:
    """ONNX graph nodes for the (1,) number of rows after the first `count`."""
    number = g.add("Cast", g.add("Shape", values, start=0, end=1), to=1)
    return g.add("Relu", g.add("Sub", number, g.constant(float(count))))


def fill(g: GraphBuilder, values: str, count: int) -> str:
    """ONNX graph nodes that append rows of zeros to (N, M) values up to (count, M)."""
    missing = g.add("Sub", g.shape(count), g.add("Shape", values, start=0, end=1))
    return g.add("Pad", values, g.add("Concat", g.shape(0, 0), missing, g.shape(0), axis=0))


def resize(
    g: GraphBuilder, image: str, sides: tuple[int, int], height: int, width: int, power: int
) -> str | None:
    """ONNX graph nodes that scale an image of uint8 with these sides, halved `power` times first,
    strip by strip; None if `graph_image_steps.taps` has no weights for that."""
    rows, columns = sides
    block = images.taps(rows, height, power)
    if block is None or images.taps(columns, width, power) is None:
        return None
    blocks = rows // len(block)
    strips = next(
        count
        for count in range(1, blocks + 1)
        if blocks % count == 0
        and (count == blocks or sides[0] * columns * 3 // count <= STRIP_VALUES)
    )
    rows //= strips

    def scale(strip: str) -> str:
        part = images.base_level(g, strip, rows, columns)
        return images.resize(g, part, height // strips, width, power).value

    return g.scan(g.reshape(image, strips, rows, columns, 3), (rows, columns, 3), scale)


def crops(
    g: GraphBuilder, image: str, sides: tuple[int, int], squares: str, size: int, top_level: int
) -> str:
    """`cut_squares` as ONNX graph nodes: (N, size, size, 3) crops of (N, 4) squares that
    `graph_image_steps.squares` made for this size, each from the pixels inside it.

    Args:
        image: (height, width, 3) uint8.
        sides: its height and width. Beyond an edge that no level's pixel ends at, pixels are black,
            whereas the pyramid repeats the last one.
        top_level: highest pyramid level of the squares.
    """
    height, width = sides
    shown = images.drawable(g, squares, sides)
    is_shown = g.add("Greater", g.reshape(shown, -1, 1), g.constant(0.0))
    squares = g.add("Where", is_shown, squares, g.constant([0.0, 0.0, 1.0, 1.0]))
    low, high = g.many("Split", [squares], 2, axis=1)
    side = g.add("ReduceMax", g.add("Sub", high, low), axes=[1], keepdims=1)
    level = images.level_of_sides(g, side, size, top_level)
    pixel = g.add("Gather", g.constant(2.0 ** np.arange(top_level + 1)), level, axis=0)
    visible = g.add("Min", g.add("Relu", squares), g.constant([[width, height, width, height]]))
    outside = g.add("Abs", g.add("Sub", squares, visible))
    beyond = g.add("ReduceSum", outside, g.shape(1), keepdims=1)
    is_plain = g.add("Less", g.add("Add", beyond, pixel), g.constant(1.5))
    # Rows first: top, left, bottom, right.
    visible, outside = (
        g.add("Cast", g.add("Gather", values, g.shape(1, 0, 3, 2), axis=1), to=7)
        for values in (visible, outside)
    )
    side, pixel = g.add("Cast", side, to=7), g.add("Cast", pixel, to=7)

    def crop(number: str) -> str:
        def of(values: str) -> str:
            return g.add("Gather", values, number, axis=0)

        def patch() -> str:
            start, end = g.many("Split", [of(visible)], 2, axis=0)
            return g.add("Cast", g.add("Slice", image, start, end, g.shape(0, 1)), to=1)

        def reduced() -> str:
            above, below = g.many("Split", [of(outside)], 2, axis=0)
            pads = g.add("Concat", above, g.shape(0), below, g.shape(0), axis=0)
            return _reduce(g, g.add("Pad", patch(), pads), of(side), of(pixel), 2**top_level)

        is_simple = g.reshape(of(is_plain))
        name = g.unique("patch")
        (found,) = g.choose(is_simple, lambda: [patch()], lambda: [reduced()], name)
        mode = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        sizes = g.shape(1, size, size, 3)
        return g.add("Resize", g.add("Unsqueeze", found, g.shape(0)), "", "", sizes, **mode)

    count = g.reshape(g.add("Shape", squares, start=0, end=1))
    found = g.reshape(g.repeat(count, crop), -1, size, size, 3)
    return g.add("Mul", found, g.reshape(shown, -1, 1, 1, 1))


def _reduce(g: GraphBuilder, patch: str, side: str, pixel: str, most: int) -> str:
    """(S, S, 3) means over `pixel` by `pixel` of a (side, side, 3) patch; both are (1,) int64."""
    three = g.shape(3)
    rows = g.add("Concat", g.shape(-1), pixel, g.add("Mul", side, three), axis=0)
    above = g.add("Slice", g.constant(np.ones((1, most))), g.shape(0), pixel, g.shape(1))
    summed = g.add("MatMul", above, g.add("Reshape", patch, rows))
    taken = g.add("Mul", pixel, three)
    across = g.constant(np.tile(np.eye(3), (most, 1)))
    across = g.add("Slice", across, g.shape(0), taken, g.shape(0))
    columns = g.add("Reshape", summed, g.add("Concat", g.shape(-1), taken, axis=0))
    area = g.add("Cast", g.add("Mul", pixel, pixel), to=1)
    means = g.add("Div", g.add("MatMul", columns, across), area)
    small = g.add("Div", side, pixel)
    return g.add("Reshape", means, g.add("Concat", small, small, three, axis=0))
