# SPDX-License-Identifier: Apache-2.0
"""Crops for a GPU as ONNX nodes: all in one `GridSample`, from one image of all pyramid levels.

On a GPU the number of nodes decides: `graph_image_steps.crops` computes the same with 25 more, some
of them on 10 MB. On a CPU `GridSample` takes twice as long as those.
"""

import numpy as np

from convert_to_trt.graph_builder import GraphBuilder
from convert_to_trt.graph_image_steps import Level, drawable, level_of_sides


def grid_crops(g: GraphBuilder, levels: list[Level], boxes: str, size: int) -> str:
    """`graph_image_steps.crops` for a GPU: (K, size, size, 3) crops of (K, 4) squares that
    `squares` made for this size, from the given levels."""
    heights = np.array([level.height for level in levels])
    widths = np.array([level.width for level in levels])
    first_rows = 1 + np.cumsum(heights + 2) - (heights + 2)
    # `GridSample` takes coordinates from -1 to 1 for the first and the last pixel.
    scale = 2 / (np.array([widths[0] + 2, (heights + 2).sum()]) - 1)
    starts = np.stack([np.ones(len(levels)), first_rows], axis=1) * scale - 1
    shrink = 0.5 ** np.arange(len(levels))
    table = np.column_stack([shrink, widths, heights, starts])[:, :, None]

    low, high = g.many("Split", [g.reshape(boxes, -1, 4, 1)], 2, axis=1)
    extent = g.add("Sub", high, low)
    side = g.add("ReduceMax", extent, axes=[1], keepdims=0)
    level = g.reshape(level_of_sides(g, side, size, len(levels) - 1), -1)
    row = g.add("Gather", g.constant(table), level, axis=0)
    shrink_by, end, start = g.many("Split", [row, g.shape(1, 2, 2)], 3, axis=1)
    # (K, 2, S) x and y of each pixel of the crop: within the square, as if the image ended there.
    half = g.constant(0.5)
    extent = g.add("Mul", extent, shrink_by)
    steps = g.constant((np.arange(size) + 0.5) / size)
    along = g.add("Max", g.add("Mul", steps, extent), half)
    along = g.add("Min", along, g.add("Sub", extent, half))
    places = g.add("Add", g.add("Sub", g.add("Mul", low, shrink_by), half), along)
    # Outside the level: the black pixels around it.
    places = g.add("Max", g.add("Min", places, end), g.constant(-1.0))
    places = g.add("Add", g.add("Mul", places, g.constant(scale[None, :, None])), start)
    x, y = g.many("Split", [places], 2, axis=1)
    is_x = g.constant([True, False], np.bool_)
    grid = g.add("Where", is_x, g.reshape(x, -1, 1, size, 1), g.reshape(y, -1, size, 1, 1))
    mode = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": 1}
    grid = g.reshape(grid, 1, -1, size, 2)
    found = g.add("GridSample", _all_levels(g, levels), grid, **mode)
    found = g.add("Transpose", g.reshape(found, 3, -1, size), perm=[1, 2, 0])
    shown = drawable(g, boxes, (levels[0].height, levels[0].width))
    return g.add("Mul", g.reshape(found, -1, size, size, 3), g.reshape(shown, -1, 1, 1, 1))


def _all_levels(g: GraphBuilder, levels: list[Level]) -> str:
    """(1, 3, H, W) image with the levels below each other, each within a black border."""
    width, height = levels[0].width + 2, sum(level.height + 2 for level in levels)
    padded = [
        g.add("Pad", each.value, g.shape(1, 1, 0, 1, width - each.width - 1, 0), g.constant(0.0))
        for each in levels
    ]
    whole = g.add("Concat", *padded, axis=0) if len(padded) > 1 else padded[0]
    return g.reshape(g.add("Transpose", whole, perm=[2, 0, 1]), 1, 3, height, width)
