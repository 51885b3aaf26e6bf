# SPDX-License-Identifier: Apache-2.0
"""Square crops of boxes: the one cropping rule that all networks share.

    box 40x60 at (100, 80)      square of side 60 * (1 + 2 * 0.2) = 84       crop 24x24
      +----+                      +--------+                                  +----+
      |    |      margin 0.2      | +----+ |    resize from the level that    |    |
      |    |          ->          | |    | |    is no smaller than 24    ->   +----+
      +----+                      | +----+ |
                                  +--------+

A crop is read from the smallest level of the image pyramid that is no smaller than the crop. Here
that is level 1, the image halved once: 84 pixels are 42 there, and halved again would be under 24.
The square is rounded to whole pixels of that level: from (78, 68) to (162, 152), which is (39, 34)
to (81, 76) of level 1. What lies outside the image is black.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.imaging.image_pyramid import Image, ImagePyramid, level_for

MIN_VISIBLE_FRACTION = 1 / 16
"""Squares with a smaller fraction of their area inside the image give black crops: padding a
huge square costs much memory, and the visible rest shows no face."""


def crop_squares(
    image: Image | ImagePyramid, boxes: NDArray[np.float32], size: int, margin: float
) -> NDArray[np.uint8]:
    """Cut a square around each box and scale it to `size` by `size` pixels.

    The squares are those of `square_slices`. What lies outside the image is black.

    Args:
        image: (H, W, 3) uint8, in any channel order, or its pyramid if it is cropped repeatedly.
        boxes: (N, 4), xmin, ymin, xmax, ymax in image pixels; may extend beyond the image.
        size: width and height of the crops in pixels.
        margin: context on each side, as a fraction of the box's longer side.

    Returns:
        (N, size, size, 3) uint8. Crops of boxes that have no area, are not finite, or show
        less than `MIN_VISIBLE_FRACTION` of their square are black.
    """
    return cut_squares(ImagePyramid.of(image), square_slices(boxes, margin, size), size)


def cut_squares(pyramid: ImagePyramid, squares: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Cut the (N, size, size, 3) crops of (N, 4) squares of `square_slices`; see `crop_squares`."""
    crops = np.zeros((len(squares), size, size, 3), np.uint8)
    height, width = pyramid[0].shape[:2]
    visible = np.clip(squares, 0, [width, height, width, height])
    sides = squares[:, 2] - squares[:, 0]
    visible_areas = np.prod(visible[:, 2:] - visible[:, :2], axis=1, dtype=np.float64)
    least_areas = MIN_VISIBLE_FRACTION * np.square(sides, dtype=np.float64)
    drawn = np.flatnonzero((visible_areas > 0) & (visible_areas >= least_areas))
    levels = level_for(sides[drawn], size)
    places = squares[drawn] >> levels[:, None]
    for index, level, (left, top, right, bottom) in zip(
        drawn.tolist(), levels.tolist(), places.tolist(), strict=True
    ):
        source, crop = pyramid[level], crops[index]
        rows, columns = source.shape[:2]
        patch = source[max(top, 0) : bottom, max(left, 0) : right]
        if top < 0 or left < 0 or bottom > rows or right > columns:
            border = (max(-top, 0), max(bottom - rows, 0), max(-left, 0), max(right - columns, 0))
            patch = cv2.copyMakeBorder(patch, *border, cv2.BORDER_CONSTANT)  # type: ignore[assignment]
        cv2.resize(patch, (size, size), crop, interpolation=cv2.INTER_LINEAR)
    return crops


def square_slices(boxes: NDArray[np.float32], margin: float, size: int) -> NDArray[np.int64]:
    """Compute the squares of the crops that `crop_squares` cuts.

    A square shares the centre of its box; its side is max(width, height) * (1 + 2 * margin) in
    whole pixels of the pyramid level it is read from. The side is rounded, then reduced to a
    multiple of that level's pixel, which shrinks it by up to 1 / `size`. Applying this again
    with margin 0 changes nothing.

    Returns:
        (N, 4) int64, xmin, ymin, xmax, ymax, right and bottom exclusive; may extend beyond
        the image. All zero for boxes that have no area or are not finite.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    # Treat larger coordinates as infinite: integers would overflow.
    finite = np.where(np.abs(corners) < 2**31, corners, np.nan)
    has_area = (finite[:, 2:] - finite[:, :2]).min(axis=1, keepdims=True) > 0
    corners = np.where(has_area, corners, 0)
    side = np.rint((corners[:, 2:] - corners[:, :2]).max(axis=1) * (1 + 2 * margin))
    pixel = 1 << level_for(side.astype(np.int64), size)  # pixel of the level, in image pixels
    side = side // pixel
    start = np.rint(((corners[:, :2] + corners[:, 2:]) / pixel[:, None] - side[:, None]) / 2)
    squares = np.hstack([start, start + side[:, None]]).astype(np.int64)
    return squares * pixel[:, None]
