"""Square crops of boxes: the one rule by which every network here is shown a face."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_VISIBLE_FRACTION = 1 / 16
"""A square with less of its area inside the image gives a black crop: padding a huge one
would cost much memory, and what is left of it shows no face."""


def crop_squares(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], size: int, margin: float
) -> NDArray[np.uint8]:
    """Cut a square around each box and scale it to `size` by `size` pixels.

    The square has the centre of the box and the side max(width, height) * (1 + 2 * margin),
    both rounded to whole pixels. What lies outside the image is black.

    Args:
        image: (H, W, 3) uint8, in any channel order.
        boxes: (N, 4), xmin, ymin, xmax, ymax in pixels of the image; they may leave it.
        size: width and height of the crops in pixels.
        margin: context on each side, as a fraction of the box's longer side.

    Returns:
        (N, size, size, 3) uint8. Crops of boxes that have no area, are not finite, or show
        less than `MIN_VISIBLE_FRACTION` of their square are black.
    """
    crops = np.zeros((len(boxes), size, size, 3), np.uint8)
    squares = square_slices(boxes, margin)
    height, width = image.shape[:2]
    visible = np.clip(squares, 0, [width, height, width, height])
    sides = squares[:, 2] - squares[:, 0]
    shown = np.prod(visible[:, 2:] - visible[:, :2], axis=1, dtype=np.float64)
    drawable = (
        (sides > 0)
        & (shown > 0)
        & (shown >= MIN_VISIBLE_FRACTION * np.square(sides, dtype=np.float64))
    )
    before = visible[:, :2] - squares[:, :2]
    after = squares[:, 2:] - visible[:, 2:]
    leaves_image = np.maximum(before, after).max(axis=1) > 0

    for i in np.flatnonzero(drawable).tolist():
        x1, y1, x2, y2 = visible[i].tolist()
        patch: NDArray[Any] = image[y1:y2, x1:x2]
        if leaves_image[i]:
            (left, top), (right, bottom) = before[i].tolist(), after[i].tolist()
            patch = cv2.copyMakeBorder(patch, top, bottom, left, right, cv2.BORDER_CONSTANT)
        _scale(patch, crops[i])
    return crops


def _scale(patch: NDArray[Any], crop: NDArray[np.uint8]) -> None:
    """Scale a square patch into a square crop.

    Smaller ones are sampled at twice the crop's size and averaged over 2x2 pixels, as the
    levels of an image pyramid are: OpenCV's averaging over areas of any ratio takes two to
    four times as long on large patches.
    """
    side, size = len(patch), len(crop)
    if side <= size:
        cv2.resize(patch, (size, size), dst=crop, interpolation=cv2.INTER_LINEAR)
        return
    # Sampling must not skip pixels, so blocks of 2x2, 4x4, ... are averaged before. What does not
    # fill a block is left off around: less than a fiftieth.
    factor = 1 << (side // (4 * size)).bit_length()
    if factor > 1:
        whole = side // factor
        rest = (side - whole * factor) // 2
        patch = patch[rest : rest + whole * factor, rest : rest + whole * factor]
        patch = cv2.resize(patch, (whole, whole), interpolation=cv2.INTER_AREA)
    double = cv2.resize(patch, (2 * size, 2 * size), interpolation=cv2.INTER_LINEAR)
    cv2.resize(double, (size, size), dst=crop, interpolation=cv2.INTER_AREA)


def square_slices(boxes: NDArray[np.float32], margin: float) -> NDArray[np.int64]:
    """The squares that `crop_squares` cuts, in whole pixels.

    Args:
        boxes: (N, 4), xmin, ymin, xmax, ymax.
        margin: context on each side, as a fraction of the box's longer side.

    Returns:
        (N, 4) int64, xmin, ymin, xmax, ymax, right and bottom exclusive; they may leave the
        image. All zero for boxes that have no area or are not finite.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    # Beyond this a coordinate is as good as infinite, and integers would overflow.
    finite = np.where(np.abs(corners) < 2**31, corners, np.nan)
    has_area = (finite[:, 2:] - finite[:, :2]).min(axis=1, keepdims=True) > 0
    corners = np.where(has_area, corners, 0)
    side = (corners[:, 2:] - corners[:, :2]).max(axis=1) * (1 + 2 * margin)
    top_left = (corners[:, :2] + corners[:, 2:] - side[:, None]) / 2
    start = np.rint(top_left).astype(np.int64)
    return np.hstack([start, start + np.rint(side).astype(np.int64)[:, None]])
