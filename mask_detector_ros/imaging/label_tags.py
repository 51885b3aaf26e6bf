# SPDX-License-Identifier: Apache-2.0
"""Place face labels so that they overlap each other and other faces as little as possible."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FONT = cv2.FONT_HERSHEY_SIMPLEX

SCALE = 0.42
"""Font scale that is easy to read at 480 lines."""

SMALLER = (1.0, 0.7, 0.5)
"""Relative sizes to try if a label would cover something; at the last one the text is shortened
too."""

MIN_HEIGHT = 7
"""Minimum legible height of a capital letter in pixels."""

SHARE_OF_FACE = 0.3
"""Maximum height of a capital letter in face heights: small faces get small labels."""


@dataclass(frozen=True)
class Tag:
    """A placed label tag.

    Attributes:
        box: xmin, ymin, xmax, ymax in pixels.
    """

    text: str
    box: tuple[int, int, int, int]
    scale: float
    thickness: int

    @property
    def origin(self) -> tuple[int, int]:
        """Origin of the tag's text: the left end of its baseline."""
        (_, height), _ = cv2.getTextSize(self.text, FONT, self.scale, self.thickness)
        return self.box[0] + 1, self.box[1] + height + 1


def place_tags(
    boxes: NDArray[np.int64], texts: list[tuple[str, str]], size: tuple[int, int], unit: float
) -> list[Tag]:
    """Place a label tag for each face, on the side of its box where it overlaps least.

    Args:
        boxes: (N, 4) of the faces, pixels.
        texts: (N,) the long and the short text of each.
        size: (height, width) of the image.
        unit: scale of the letters, 1 at 480 lines.
    """
    taken = np.empty((0, 4), np.int64)
    tags = []
    for i, (text, short) in enumerate(texts):
        others = np.concatenate([np.delete(boxes, i, axis=0), taken])
        tag = _place(boxes[i], others, text, short, size, unit)
        tags.append(tag)
        taken = np.concatenate([taken, [tag.box]])
    return tags


def _place(
    box: NDArray[np.int64],
    others: NDArray[np.int64],
    text: str,
    short: str,
    size: tuple[int, int],
    unit: float,
) -> Tag:
    """The first position without overlap, or the one with the least."""
    best, least = None, np.inf
    for smaller in SMALLER:
        words = text if smaller > SMALLER[-1] else short
        for tag in _candidates(box, words, size, unit, smaller):
            covered = _covered(tag.box, others)
            if covered < least:
                best, least = tag, covered
            if not covered:
                return tag
    assert best is not None
    return best


def _candidates(
    box: NDArray[np.int64], text: str, size: tuple[int, int], unit: float, smaller: float
) -> list[Tag]:
    """Candidate positions in the image: above and below the box, left or right aligned; beside."""
    xmin, ymin, xmax, ymax = map(int, box)
    (_, capital), _ = cv2.getTextSize("H", FONT, SCALE * unit, 1)
    wanted = min(capital, SHARE_OF_FACE * (ymax - ymin)) * smaller
    scale = SCALE * unit * max(wanted, min(MIN_HEIGHT, capital)) / capital
    thickness = max(round(scale / SCALE), 1)
    (width, height), baseline = cv2.getTextSize(text, FONT, scale, thickness)
    width, height = width + 2, height + baseline + 2
    above, below = ymin - height, ymax
    # If it would leave the image at the top, the label goes below.
    rows = [above, below] if above >= 0 else [below]
    corners = [(x, y) for y in rows for x in (xmin, xmax - width)]
    corners += [(xmax, ymin), (xmin - width, ymin)]
    tags = []
    for x, y in corners:
        left = max(min(x, size[1] - width), 0)
        top = max(min(y, size[0] - height), 0)
        tags.append(Tag(text, (left, top, left + width, top + height), scale, thickness))
    return tags


def _covered(tag: tuple[int, int, int, int], others: NDArray[np.int64]) -> float:
    """Fraction of each box that a tag covers, summed over the boxes."""
    low = np.maximum(others[:, :2], tag[:2])
    high = np.minimum(others[:, 2:], tag[2:])
    common = (high - low).clip(0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).clip(1).prod(axis=1)
    return float((common / areas).sum())
