# SPDX-License-Identifier: Apache-2.0
"""Check the parity of a conversion: compare the converted classifier with the original."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.classifier import Classifier
from mask_detector_ros.errors import ModelError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.crops import crop_squares
from mask_detector_ros.inference.session import Array, Session

PARITY_LIMIT = 1e-3
"""Maximum difference of a probability for a correct conversion."""

QUANTISED_LIMIT = 0.3
"""The same if the original computes in int8 and the converted network in float: rounding in the
original can change a single crop this much. The mean must be below a tenth of it."""

HALF_LIMIT = 0.02
"""The same if the network computes in half precision, with a relative rounding of 5e-4."""

RANDOM_CROPS = 32
CROPS_TOGETHER = 8


class OriginalSession(Session):
    """The original network as a session with the inputs and outputs of the converted one."""

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
        random_crops: number of random crops.
        face_crops: number of face crops.
        same_label: fraction of the crops whose most probable label is the same.
    """

    largest: float
    mean: float
    random_crops: int
    face_crops: int
    same_label: float

    def to_record(self) -> dict[str, Any]:
        """The differences between original and converted network as a JSON-ready dictionary."""
        return asdict(self)

    def require(self, limit: float = PARITY_LIMIT) -> None:
        """Raise ModelError if a difference between original and converted network exceeds the
        limit, the mean exceeds a tenth of it, or one is NaN.

        Raises:
            ModelError: it does; the message gives the difference.
        """
        if not self.largest <= limit or not self.mean <= limit / 10:
            raise ModelError(
                f"the converted model differs from the original by {self.largest:.2g} in a"
                f" probability, {self.mean:.2g} in the mean; allowed are {limit:g} and"
                f" {limit / 10:g}; nothing was written"
            )


def random_crops(side: int, count: int = RANDOM_CROPS) -> NDArray[np.uint8]:
    """Make random crops to compare original and converted network: half fine noise, half soft spots
    of colour.

    Returns:
        (count, side, side, 3) uint8.
    """
    chance = np.random.default_rng(0)
    fine = chance.integers(0, 256, (count - count // 2, side, side, 3), np.uint8)
    coarse = chance.integers(0, 256, (count // 2, 5, 5, 3), np.uint8)
    soft = [cv2.resize(spots, (side, side), interpolation=cv2.INTER_CUBIC) for spots in coarse]
    return np.concatenate([fine, *(spots[None] for spots in soft)])


def square_crop(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Make one (side, side, 3) crop of a whole (H, W, 3) image, to compare original and converted
    network."""
    height, width = image.shape[:2]
    box = np.array([[0, 0, width, height]], np.float32)
    crop: NDArray[np.uint8] = crop_squares(image, box, side, 0.0)[0]
    return crop


def measure_parity(
    original: Session, converted: Session, random: NDArray[np.uint8], real: NDArray[np.uint8]
) -> Parity:
    """Compare the original and the converted network on the same crops, one at a time and several
    at once.

    Args:
        original, converted: sessions with the same inputs, outputs and metadata.
        random, real: (N, S, S, 3) uint8 BGR each; S is the side the network takes.
    """
    crops = np.concatenate([random, real])
    groups = [crops[:1], crops[1:2]]
    rest = range(2, len(crops), CROPS_TOGETHER)
    groups += [crops[start : start + CROPS_TOGETHER] for start in rest]
    old, new = (
        np.concatenate([classify_crops(classifier, crops) for crops in groups if len(crops)])
        for classifier in (Classifier(original), Classifier(converted))
    )
    difference = np.abs(old.astype(np.float64) - new)
    return Parity(
        largest=float(difference.max()),
        mean=float(difference.mean()),
        random_crops=len(random),
        face_crops=len(real),
        same_label=float(np.mean(old.argmax(axis=1) == new.argmax(axis=1))),
    )


def classify_crops(classifier: Classifier, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, K) probabilities of the converted network for (N, S, S, 3) crops, as the node gets them.

    They are placed side by side in one image, with a face box around each.
    """
    count, side = crops.shape[:2]
    left = np.arange(count, dtype=np.float32) * side
    boxes = np.stack([left, 0 * left, left + side, 0 * left + side], axis=1)
    image = np.ascontiguousarray(np.hstack(list(crops)))
    return classifier(image, Faces.known(boxes), margin=0.0).probabilities
