# SPDX-License-Identifier: Apache-2.0
"""How far a converted classifier is from the original, as the node computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.classifier import Classifier
from mask_detector_ros.errors import ModelError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.crops import crop_squares
from mask_detector_ros.inference.base import Array, Session

PARITY_LIMIT = 1e-3
"""Largest difference of a probability at which a conversion still counts as right."""

QUANTISED_LIMIT = 0.3
"""The same, where the original computes in int8 and the converted network in float: a single crop
may differ that much by the rounding of the original. The mean must be below a tenth of it."""

HALF_LIMIT = 0.02
"""The same, where the network computes in half precision, whose rounding is 5e-4 of each value."""

RANDOM_CROPS = 32
CROPS_TOGETHER = 8


class OriginalSession(Session):
    """The original network in the place of the converted one, with the same ends."""

    backend = "original"
    device = "CPU"

    def __init__(self, converted: Session, run: Callable[[Array], NDArray[np.float32]]) -> None:
        self.name = f"original of {converted.name}"
        self.inputs, self.outputs = converted.inputs, converted.outputs
        self.metadata = converted.metadata
        self._original = run

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {self.outputs[0].name: self._original(arrays[self.inputs[0].name])}


@dataclass(frozen=True)
class Parity:
    """Differences of probabilities between the original and the converted network.

    Attributes:
        largest: over all crops and labels.
        mean: over all crops and labels.
        random_crops: how many of them were random.
        real_crops: how many of them were images of faces.
        same_label: share of the crops with the same most probable label.
    """

    largest: float
    mean: float
    random_crops: int
    real_crops: int
    same_label: float

    def to_record(self) -> dict[str, Any]:
        """As a JSON-ready dictionary."""
        return asdict(self)

    def require(self, limit: float = PARITY_LIMIT) -> None:
        """Raise where a difference is above the limit, their mean above a tenth, or no number.

        Raises:
            ModelError: gives the difference.
        """
        if not self.largest <= limit or not self.mean <= limit / 10:
            raise ModelError(
                f"the converted model differs from the original by {self.largest:.2g} in a"
                f" probability, {self.mean:.2g} in the mean; allowed are {limit:g} and"
                f" {limit / 10:g}; nothing was written"
            )


def random_crops(side: int, count: int = RANDOM_CROPS, seed: int = 0) -> NDArray[np.uint8]:
    """Random crops, half of them fine noise and half of them soft spots of colour.

    Returns:
        (count, side, side, 3) uint8.
    """
    chance = np.random.default_rng(seed)
    fine = chance.integers(0, 256, (count - count // 2, side, side, 3), np.uint8)
    coarse = chance.integers(0, 256, (count // 2, 5, 5, 3), np.uint8)
    soft = [cv2.resize(spots, (side, side), interpolation=cv2.INTER_CUBIC) for spots in coarse]
    return np.concatenate([fine, *(spots[None] for spots in soft)])


def square_crop(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A whole (H, W, 3) image as one crop, (side, side, 3)."""
    height, width = image.shape[:2]
    box = np.array([[0, 0, width, height]], np.float32)
    crop: NDArray[np.uint8] = crop_squares(image, box, side, 0.0)[0]
    return crop


def measure_parity(
    original: Session, converted: Session, random: NDArray[np.uint8], real: NDArray[np.uint8]
) -> Parity:
    """Show both networks the same crops, one at a time and several at once.

    Args:
        original, converted: sessions with the same ends and metadata.
        random, real: (N, S, S, 3) uint8 BGR each; S is the side the network takes.
    """
    crops = np.concatenate([random, real])
    groups = [crops[:1], crops[1:2]]
    rest = range(2, len(crops), CROPS_TOGETHER)
    groups += [crops[start : start + CROPS_TOGETHER] for start in rest]
    old, new = (_probabilities(Classifier(s), groups) for s in (original, converted))
    difference = np.abs(old.astype(np.float64) - new)
    return Parity(
        largest=float(difference.max()),
        mean=float(difference.mean()),
        random_crops=len(random),
        real_crops=len(real),
        same_label=float(np.mean(old.argmax(axis=1) == new.argmax(axis=1))),
    )


def _probabilities(
    classifier: Classifier, groups: Iterable[NDArray[np.uint8]]
) -> NDArray[np.float32]:
    return np.concatenate([classify_crops(classifier, crops) for crops in groups if len(crops)])


def classify_crops(classifier: Classifier, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, K) probabilities of (N, S, S, 3) crops, as the node gets them.

    They are laid side by side in one image, with a face's box around each.
    """
    count, side = crops.shape[:2]
    left = np.arange(count, dtype=np.float32) * side
    boxes = np.stack([left, 0 * left, left + side, 0 * left + side], axis=1)
    faces = Faces(boxes, np.ones(count, np.float32), np.zeros((count, 5, 2), np.float32))
    image = np.ascontiguousarray(np.hstack(list(crops)))
    return classifier(image, faces, margin=0.0).probabilities
