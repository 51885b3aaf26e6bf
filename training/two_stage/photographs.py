# SPDX-License-Identifier: Apache-2.0
"""The training photographs of the two-stage cascade: boxes, labels, ignored regions."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import SourceError
from training.mask_data import LABELS, LABELS_ONLY, read_rows

IGNORE = len(LABELS)
"""Kind of an ignored box, neither face nor background; the other kinds index `LABELS`."""

Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Photograph:
    """A training photograph: an image file with its labelled boxes.

    Attributes:
        path: path of the image.
        source: its collection.
        boxes: (N, 4) float32, xmin, ymin, xmax, ymax in pixels.
        kinds: (N,) int8, index into `LABELS`, or `IGNORE`.
        suspect: whether one of its labels is doubtful.
        landmarks: (N, 5, 2) float32 pixels; NaN if unknown.
    """

    path: Path
    source: str
    boxes: Boxes
    kinds: NDArray[np.int8]
    suspect: bool = False
    landmarks: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 5, 2), np.float32))

    @property
    def is_labels_only(self) -> bool:
        """Whether a training photograph's boxes are not ground truth for a detector."""
        return self.source in LABELS_ONLY


def read_photographs(folder: Path, split: str, left_out: Sequence[str] = ()) -> list[Photograph]:
    """Read the training photographs of a split (`train`, `val`): those with boxes, then those
    without a face.

    Args:
        folder: contains images/, labels.csv and, for photographs without a face, negatives.csv.
        split: name of the split in the files.
        left_out: sources to leave out.

    Raises:
        SourceError: there is no labels.csv, or it has no such split.
    """
    rows = [r for r in read_rows(folder / "labels.csv", split) if r["source"] not in left_out]
    if not rows:
        raise SourceError(f"{folder}/labels.csv has no rows of split {split!r} to read")
    by_file: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_file[row["file"]].append(row)
    kinds = (*LABELS, "ignore")
    photographs = [
        Photograph(
            folder / "images" / file,
            faces[0]["source"],
            np.array(
                [[float(r[k]) for k in ("xmin", "ymin", "xmax", "ymax")] for r in faces], np.float32
            ),
            np.array([kinds.index(r["label"]) for r in faces], np.int8),
            any(r["suspect"] == "1" for r in faces),
            np.full((len(faces), 5, 2), np.nan, np.float32),
        )
        for file, faces in by_file.items()
    ]
    negatives = folder / "negatives.csv"
    if negatives.is_file():
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int8)
        photographs += [
            Photograph(folder / "images" / row["file"], f"negatives {row['source']}", *nothing)
            for row in read_rows(negatives, split)
        ]
    return photographs
