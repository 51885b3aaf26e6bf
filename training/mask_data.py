# SPDX-License-Identifier: Apache-2.0
"""Training data of the mask classifier: photographs and labels."""

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import SourceError

LABELS = ("with_mask", "without_mask", "mask_worn_incorrectly")

LABELS_ONLY = ("chandrikadeb7", "notadithyabhat", "jamesnogra")
"""Sources of cropped heads, whose boxes are not a detector's ground truth."""

PATCH_REACH = 1.1
"""Half the side of the square kept around a face, relative to the longer side of its box: enough
for margin, box jitter and rotation together."""

PATCH_FACE_SIDE = 112
"""Larger faces are reduced to this many pixels; crops show them at 64."""


@dataclass(frozen=True)
class FaceRow:
    """One labelled face in the training data of the mask classifier.

    Attributes:
        image: path of the photograph.
        box: (4,) float32, xmin, ymin, xmax, ymax in its pixels.
        label: index into `LABELS`.
        source: its collection.
        suspect: whether a label in this photograph is doubtful.
        is_whole_image: whether the photograph is itself a crop of this face.
    """

    image: Path
    box: NDArray[np.float32]
    label: int
    source: str
    suspect: bool
    is_whole_image: bool

    @property
    def side(self) -> float:
        """The longer side of a labelled face in the mask classifier's training data, in pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


def read_faces(folder: Path, split: str) -> list[FaceRow]:
    """Read the training data of the mask classifier: the rows of one split (`train` or `val`) of
    `folder`/labels.csv.

    Raises:
        SourceError: there is no labels.csv, or it has no such split.
    """
    path = folder / "labels.csv"
    rows = [_parse(row, folder) for row in read_rows(path, split) if row["label"] != "ignore"]
    if not rows:
        raise SourceError(f"{path} has no rows of split {split!r}")
    return rows


def read_rows(path: Path, split: str) -> list[dict[str, str]]:
    """Read the rows of one split of the training data, a table of photographs.

    Raises:
        SourceError: there is no such file.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist; give the folder with labels.csv and images/")
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def _parse(row: dict[str, str], folder: Path) -> FaceRow:
    return FaceRow(
        image=folder / "images" / row["file"],
        box=np.array([float(row[k]) for k in ("xmin", "ymin", "xmax", "ymax")], np.float32),
        label=LABELS.index(row["label"]),
        source=row["source"],
        suspect=row["suspect"] == "1",
        is_whole_image=row["source"] == "chandrikadeb7",
    )


@dataclass(frozen=True)
class FacePatch:
    """A face of the training data with its surroundings, and its position in them.

    Attributes:
        pixels: (H, W, 3) uint8 BGR.
        box: (4,) float32, xmin, ymin, xmax, ymax in pixels of the patch.
        label: index into `LABELS`.
        is_whole_image: whether the patch shows nothing beyond the box.
    """

    pixels: NDArray[np.uint8]
    box: NDArray[np.float32]
    label: int
    is_whole_image: bool


def cut_patch(image: NDArray[np.uint8], row: FaceRow) -> FacePatch:
    """Cut out the face of a row of the mask classifier's training data, with the surroundings that
    augmentation needs."""
    centre = (row.box[:2] + row.box[2:]) / 2
    reach = PATCH_REACH * row.side
    height, width = image.shape[:2]
    x1, y1 = np.maximum(np.floor(centre - reach), 0).astype(int)
    x2, y2 = np.minimum(np.ceil(centre + reach), [width, height]).astype(int)
    pixels = image[y1:y2, x1:x2]
    box = row.box - np.array([x1, y1, x1, y1], np.float32)
    scale = min(1.0, PATCH_FACE_SIDE / row.side)
    if scale < 1:
        size = np.maximum(np.rint(np.array(pixels.shape[1::-1]) * scale), 1).astype(int)
        box = box * np.tile(size / pixels.shape[1::-1], 2).astype(np.float32)
        pixels = np.asarray(
            cv2.resize(pixels, size.tolist(), interpolation=cv2.INTER_AREA), np.uint8
        )
    return FacePatch(pixels.copy(), box, row.label, row.is_whole_image)
