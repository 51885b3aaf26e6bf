# SPDX-License-Identifier: Apache-2.0
"""Perturb photographs, to measure robustness to frames unlike the training data."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.evaluation.dataset import LabelledImage
from mask_detector_ros.imaging.boxes import FloatArray, box_area
from mask_detector_ros.imaging.image_pyramid import Image

MIN_VISIBLE = 0.5
"""Minimum fraction of a face's box inside the image; a face cut further is ignored."""

CUT_SHARE = 0.35
"""Fraction of the largest face that `edge` cuts off."""

FILL_MARGIN, FILL_SIDE = 0.05, 480
"""`fill` shows the largest face with this margin, in an image whose longer side is this long."""

DARK_GAIN, BLUR_SIGMA, JPEG_QUALITY = 0.2, 2.0, 30


@dataclass(frozen=True, eq=False)
class Change:
    """An image, and the (2, 3) affine transform from the original's pixels to its pixels."""

    image: Image
    matrix: NDArray[np.float64]


def perturb(name: str, image: Image, labelled: LabelledImage) -> tuple[Image, LabelledImage]:
    """Apply one of `PERTURBATIONS` to a photograph and its faces.

    The box of a rotated face encloses the rotated ellipse inscribed in its box.
    """
    change = PERTURBATIONS[name](image, labelled.boxes)
    height, width = change.image.shape[:2]
    moved = _move(labelled.boxes, change.matrix)
    clipped = np.clip(moved, 0, np.array([width, height] * 2, np.float32))
    kept = box_area(clipped) >= MIN_VISIBLE * box_area(moved)
    ignored = np.clip(_move(labelled.ignored, change.matrix), 0, [width, height, width, height])
    return change.image, replace(
        labelled,
        boxes=clipped[kept],
        label_ids=labelled.label_ids[kept],
        ignored=np.concatenate([ignored, clipped[~kept]]).astype(np.float32),
    )


def _move(boxes: FloatArray, matrix: NDArray[np.float64]) -> FloatArray:
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2
    centres = centres @ matrix[:, :2].T + matrix[:, 2]
    halves = np.sqrt(halves**2 @ (matrix[:, :2] ** 2).T)
    return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)


def _pixels(function: Callable[[Image], Image]) -> Callable[[Image, FloatArray], Change]:
    return lambda image, boxes: Change(function(image), np.eye(2, 3))


def _rotate(degrees: float) -> Callable[[Image, FloatArray], Change]:
    def rotate(image: Image, boxes: FloatArray) -> Change:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
        # Large enough for the whole rotated image; black around it.
        size = np.rint(np.abs(matrix[:, :2]) @ [width, height]).astype(int)
        matrix[:, 2] += (size - [width, height]) / 2
        # Boxes count from pixel corners; warpAffine counts from pixel centres.
        shifted = matrix.copy()
        shifted[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
        return Change(cv2.warpAffine(image, shifted, size.tolist()), matrix)  # type: ignore[arg-type]

    return rotate


def _cut_at_edge(image: Image, boxes: FloatArray) -> Change:
    """Crop the image so that its left edge cuts the largest face."""
    if not len(boxes):
        return Change(image, np.eye(2, 3))
    xmin, _, xmax, _ = boxes[box_area(boxes).argmax()].tolist()
    left = round(xmin + CUT_SHARE * (xmax - xmin))
    return Change(np.ascontiguousarray(image[:, left:]), np.array([[1, 0, -left], [0, 1, 0]]))


def _fill(image: Image, boxes: FloatArray) -> Change:
    """Crop the image so that the largest face fills it."""
    if not len(boxes):
        return Change(image, np.eye(2, 3))
    box = boxes[box_area(boxes).argmax()]
    margin = FILL_MARGIN * (box[2:] - box[:2])
    low = np.maximum(np.floor(box[:2] - margin), 0).astype(int)
    high = np.ceil(box[2:] + margin).astype(int)
    patch = image[low[1] : high[1], low[0] : high[0]]
    scale = FILL_SIDE / max(patch.shape[:2])
    size = (round(patch.shape[1] * scale), round(patch.shape[0] * scale))
    x, y = size[0] / patch.shape[1], size[1] / patch.shape[0]
    matrix = np.array([[x, 0, -x * low[0]], [0, y, -y * low[1]]])
    return Change(cv2.resize(patch, size, interpolation=cv2.INTER_LINEAR), matrix)  # type: ignore[arg-type]


def _compress(image: Image) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)  # type: ignore[return-value]


def _to_grey(image: Image) -> Image:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]


PERTURBATIONS: dict[str, Callable[[Image, FloatArray], Change]] = {
    "edge": _cut_at_edge,
    "fill": _fill,
    "rotate30": _rotate(30),
    "rotate90": _rotate(90),
    "dark": _pixels(lambda image: cv2.convertScaleAbs(image, alpha=DARK_GAIN)),  # type: ignore[arg-type,return-value]
    "blur": _pixels(lambda image: cv2.GaussianBlur(image, (0, 0), BLUR_SIGMA)),  # type: ignore[arg-type,return-value]
    "jpeg30": _pixels(_compress),
    "grey": _pixels(_to_grey),
}
GEOMETRIC = ("edge", "fill", "rotate30", "rotate90")
"""Perturbations that move faces; they do not apply to cut-out faces."""
