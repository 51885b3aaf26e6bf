# SPDX-License-Identifier: Apache-2.0
"""Proposals of the two-stage cascade: one fully convolutional pass over the frame.

The 2016 cascade slides one small window over an image pyramid. Here a network with several
feature levels processes the frame once, and each of its cells proposes one box:

    frame 640x480, min_face_size 20          cells of the network's outputs
    +----------------+   letterbox           stride 8   64x48   small faces
    |                |   512x384, black  ->  stride 16  32x24   medium faces
    |                |   below and right     stride 32  16x12   large faces
    +----------------+

The frame is scaled so that a face of `min_face_size` pixels has the smallest size that the
network was trained to find. Doubling `min_face_size` cuts the cost to a quarter.

Cells and decoding are those of YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level
Face Detector", 2023, https://doi.org/10.1007/s11633-023-1423-y).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from mask_detector_ros.imaging.boxes import FloatArray
from mask_detector_ros.imaging.image_pyramid import Image, ImagePyramid, level_for
from mask_detector_ros.inference.session import Array

MULTIPLE = 32
"""Sides of the network's input are multiples of this, its largest stride."""

MAX_CANDIDATES = 4096
"""Maximum number of cells for non-maximum suppression, best first. A face activates about ten."""

PROPOSAL_OVERLAP = 0.45
"""Intersection over union above which the worse of two candidates is suppressed. At 0.6 a third
more crops remain and recall is half a point lower: the decision network moves two boxes of one face
together, and if it does not, one of them is a false face."""

COARSE_SHRINK = 4
"""Scale factor between two passes if faces may be larger than the network's range."""


@dataclass(frozen=True)
class Letterbox:
    """The frame's place in the proposal network's input: scaled, top left, black to the right and
    below.

    Attributes:
        height, width: size of the frame.
        rows, columns: size of the scaled frame.
    """

    height: int
    width: int
    rows: int
    columns: int

    @property
    def input_shape(self) -> tuple[int, int]:
        """Rows and columns of the two-stage cascade's proposal input."""
        return _round_up(self.rows), _round_up(self.columns)

    def draw(self, image: ImagePyramid) -> Image:
        """Draw the input of the proposal network, (1, H, W, 3) uint8, writing each pixel once."""
        (level,) = level_for([self.height], self.rows).tolist()
        source, size = image[level], (self.columns, self.rows)
        same = source.shape[:2] == (self.rows, self.columns)
        if same and self.input_shape == (self.rows, self.columns):
            return source[None]
        canvas = np.empty((1, *self.input_shape, 3), np.uint8)
        canvas[0, self.rows :] = 0
        canvas[0, : self.rows, self.columns :] = 0
        scaled = canvas[0, : self.rows, : self.columns]
        if same:
            scaled[:] = source
        else:
            cv2.resize(source, size, scaled, interpolation=cv2.INTER_LINEAR)
        return canvas

    def to_frame(self, boxes: FloatArray) -> FloatArray:
        """Convert (N, 4) proposed boxes from input pixels to frame pixels."""
        x, y = self.width / self.columns, self.height / self.rows
        return boxes * np.array([x, y, x, y], np.float32)


def letterboxes(
    height: int, width: int, min_face_size: int, smallest_face: float, largest_face: float
) -> Iterator[Letterbox]:
    """The proposal passes of the two-stage cascade over a frame of this size: one, plus coarser
    ones while the frame has room for faces larger than the network's range. An image smaller than
    `min_face_size` has none.

    Args:
        height, width: size of the frame.
        min_face_size: the smallest face to find, in frame pixels.
        smallest_face, largest_face: the network's range, in input pixels.
    """
    if min(height, width) < min_face_size:
        return
    scale = smallest_face / min_face_size
    while True:
        rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
        yield Letterbox(height, width, rows, columns)
        if min(rows, columns) <= largest_face:
            return
        scale /= COARSE_SHRINK


def decode_cells(
    out: Mapping[str, Array], strides: tuple[int, ...], width: int, threshold: float
) -> tuple[FloatArray, FloatArray]:
    """Decode the cells of the proposal network that reach a threshold to boxes in input pixels.

    Args:
        out: `scores_<stride>` (1, P) and `boxes_<stride>` (1, P, 4) of each stride, row by row:
            the centre's distance from the cell's corner and the logarithm of the size, in strides.
        strides: strides of the feature levels, in input pixels.

    Returns:
        (N, 4) boxes and (N,) scores, at most `MAX_CANDIDATES` with the best scores.
    """
    levels = [out[f"scores_{stride}"][0] for stride in strides]
    scores = np.concatenate(levels)
    cells = np.flatnonzero(scores >= threshold)
    if not len(cells):
        return np.empty((0, 4), np.float32), np.empty(0, np.float32)
    # All levels in one step: NumPy's calls take longer than their work.
    moves = np.concatenate([out[f"boxes_{stride}"][0] for stride in strides])[cells]
    table = _cells(width, strides, tuple(map(len, levels)))[cells]
    corners, sizes = table[:, :2], table[:, 2:]
    centres = corners + moves[:, :2] * sizes
    halves = np.exp(moves[:, 2:]) * (sizes / 2)
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    return best_scored(boxes, scores[cells], MAX_CANDIDATES)


@lru_cache(maxsize=8)
def _cells(width: int, strides: tuple[int, ...], counts: tuple[int, ...]) -> FloatArray:
    """(P, 3) corner and stride of the cells of all levels, in input pixels."""
    levels = []
    for stride, count in zip(strides, counts, strict=True):
        rows, columns = np.divmod(np.arange(count), width // stride)
        levels.append(np.stack([columns * stride, rows * stride, np.full(count, stride)], axis=1))
    return np.concatenate(levels, dtype=np.float32)


def best_scored(boxes: FloatArray, scores: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Select at most `count` proposed boxes of the two-stage cascade with the best scores, and
    their scores."""
    if len(scores) <= count:
        return boxes, scores
    kept = np.argpartition(-scores, count)[:count]
    return boxes[kept], scores[kept]


def _round_up(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE
