# SPDX-License-Identifier: Apache-2.0
"""Near-face search: run P-Net only around the faces of the previous frame.

It searches a square two and a half times as wide as each face's last box, scaled to a few sizes,
the levels of a small image pyramid:

    last box   square around it      the square at 60, 42, 30 and 22 pixels
      +--+        +------+           +------+ +----+ +---+ +--+
      |  |   ->   | +--+ |     ->    |      | |    | |   | |  |   -> P-Net, packed on one image
      +--+        | +--+ |           |      | +----+ +---+ +--+
                  +------+           +------+
"""

import numpy as np

from mask_detector_ros.imaging.boxes import FloatArray
from mask_detector_ros.imaging.crops import cut_squares, square_slices
from mask_detector_ros.imaging.image_pyramid import Image, ImagePyramid
from mask_detector_ros.mtcnn.pnet_pyramid import PackedPyramid, lay_out

NEAR_MARGIN, NEAR_SIDES = 0.75, (60, 42, 30, 22)
"""Context on each side of the last box, and the sizes of the squares in pixels: the face itself is
then 0.7 to 2 windows of P-Net. Without the largest, one face in a hundred is lost."""


def draw_near(
    image: ImagePyramid, near: FloatArray, threads: int
) -> tuple[tuple[PackedPyramid, ...], list[tuple[Image, FloatArray]], FloatArray]:
    """Draw the squares that near-face search looks at, around (N, 4) boxes, as packed pyramids.

    Returns:
        The packed pyramids; for each, the result of `PackedPyramid.draw`; and (L, 2) the corner of
        each level's square in image pixels.
    """
    squares = [square_slices(near, NEAR_MARGIN, side) for side in NEAR_SIDES]
    crops = [
        crop
        for side, places in zip(NEAR_SIDES, squares, strict=True)
        for crop in cut_squares(image, places, side)
    ]
    every = np.concatenate(squares)
    sides = every[:, 2:] - every[:, :2]
    # With these sizes, all levels fit one packed pyramid, so its levels are those of `every`.
    packed = lay_out(tuple(crop.shape[:2] for crop in crops), threads)
    drawn = [
        (packing.paste(crops), (sides / np.array(packing.shapes)).astype(np.float32))
        for packing in packed
    ]
    return packed, drawn, every[:, :2].astype(np.float32)
