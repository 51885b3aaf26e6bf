# SPDX-License-Identifier: Apache-2.0
"""Read labelled photographs and check them row by row."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import SourceError
from mask_detector_ros.evaluation.label_files import IGNORE, Problem, Row, read_labels
from mask_detector_ros.imaging.boxes import box_area
from mask_detector_ros.sources import read_image

LABELS = ("with_mask", "without_mask", "mask_worn_incorrectly")
WITH_MASK, WITHOUT_MASK, WORN_INCORRECTLY = range(3)

SYNONYMS = {"mask_weared_incorrect": "mask_worn_incorrectly"}
"""The spelling of the most used public set in PASCAL VOC form (Kaggle, andrewmvd)."""

WHOLE_IMAGE_COVER = 0.9
"""An image whose only box covers at least this fraction is a cut-out face. It has no background,
so it counts for classification and not for detection."""


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """A photograph with its known faces.

    Attributes:
        path: path of the image file.
        boxes: (N, 4) float32, xmin, ymin, xmax, ymax in pixels, right and bottom exclusive.
        label_ids: (N,) int64, index into `LABELS`.
        ignored: (M, 4) float32, boxes labelled `IGNORE` and boxes of unusable rows; detections
            there are neither right nor wrong.
        is_whole_image: whether the photograph is itself a crop of its only face.
        is_negative: whether the data set lists it as an image without faces.
        source: its source as given by the data set.
    """

    path: Path
    boxes: NDArray[np.float32]
    label_ids: NDArray[np.int64]
    ignored: NDArray[np.float32]
    is_whole_image: bool
    is_negative: bool = False
    source: str = ""


@dataclass(frozen=True)
class Dataset:
    """The usable photographs of a data set, and the problems of unusable rows."""

    images: tuple[LabelledImage, ...]
    problems: tuple[Problem, ...]

    @property
    def problem_counts(self) -> dict[str, int]:
        """Number of the data set's problems by kind."""
        return dict(Counter(problem.kind for problem in self.problems))


def read_dataset(
    folder: Path,
    split: str | None = None,
    progress: Callable[[list[Path]], Iterable[Path]] = iter,
    sources: Collection[str] = (),
) -> Dataset:
    """Read and check a data set; see `read_labels` for the formats.

    Opens each image once to check that it can be read and to get its size. Rows with a problem
    are left out. So is an image without a usable row, unless its label file says that it has
    no face.

    Args:
        split: the part to read; None for all.
        progress: wraps the list of images to show progress.
        sources: the values of the column `source` to read, except for negatives; empty for
            all.

    Raises:
        SourceError: no such folder, no labels, no rows of this split or source, or no usable
            row.
    """
    labels = read_labels(folder, split)
    if unknown := set(sources) - set(labels.sources.values()):
        known = ", ".join(sorted(filter(None, set(labels.sources.values()))))
        raise SourceError(f"{folder} has no source {', '.join(unknown)}; it has {known or 'none'}")
    rows: dict[Path, list[Row]] = {
        image: []
        for image in labels.images
        if not sources or image in labels.negatives or labels.sources[image] in sources
    }
    for row in labels.rows:
        if row.image in rows:
            rows[row.image].append(row)
    images, problems = [], list(labels.problems)
    for path in progress(list(rows)):
        try:
            height, width = read_image(path).shape[:2]
        except SourceError as error:
            problems += _image_problems(rows[path], labels.images[path], path, str(error))
            continue
        in_pixels = [row.in_pixels(width, height) for row in rows[path]]
        image, found = check_image(path, in_pixels, width, height)
        problems += found
        if len({problem.row for problem in found}) < len(rows[path]) or not rows[path]:
            is_negative, source = path in labels.negatives, labels.sources.get(path, "")
            images.append(replace(image, is_negative=is_negative, source=source))
    if not any(len(image.boxes) for image in images):
        kinds = Counter(problem.kind for problem in problems)
        reasons = ", ".join(f"{kind}: {count}" for kind, count in kinds.items())
        raise SourceError(f"{folder} has no usable row ({reasons or 'it has no faces'})")
    return Dataset(tuple(images), tuple(sorted(problems, key=lambda p: (p.file, p.row))))


def check_image(
    path: Path, rows: list[Row], width: int, height: int
) -> tuple[LabelledImage, list[Problem]]:
    """Check the rows of a data set's photograph of this size: its usable faces, and the problems of
    the other rows."""
    problems, usable = [], []
    for row in rows:
        found = list(_row_problems(row, width, height))
        problems += found
        usable.append(not found)
    boxes = np.array([row.box for row in rows], np.float32).reshape(-1, 4)
    visible = np.clip(np.nan_to_num(boxes), 0, [width, height, width, height])
    covers = box_area(visible.astype(np.float32)) / (width * height)
    label_ids = np.array([label_id(row.label) for row in rows], np.int64)
    good = np.array(usable, bool) & (label_ids >= 0)
    image = LabelledImage(
        path,
        boxes[good],
        label_ids[good],
        visible[~good & (covers > 0)].astype(np.float32),
        is_whole_image=len(rows) == 1 and bool(covers[0] >= WHOLE_IMAGE_COVER),
    )
    return image, problems


def label_id(label: str) -> int:
    """Index into `LABELS` of a data set's label; -1 for `IGNORE` and for unknown labels."""
    name = SYNONYMS.get(label, label)
    return LABELS.index(name) if name in LABELS else -1


def _row_problems(row: Row, width: int, height: int) -> Iterator[Problem]:
    xmin, ymin, xmax, ymax = row.box
    corners = ", ".join(f"{value:g}" for value in row.box)
    if not (xmax > xmin and ymax > ymin and np.isfinite(row.box).all()):
        detail = f"{corners} in {row.image.name}"
        yield Problem(row.file, row.row, "empty box", detail)
    elif xmin < 0 or ymin < 0 or xmax > width or ymax > height:
        detail = f"{corners} in {row.image.name}, which has {width}x{height} px"
        yield Problem(row.file, row.row, "box outside the image", detail)
    if label_id(row.label) < 0 and row.label != IGNORE:
        detail = f"{row.label!r} is none of {', '.join([*LABELS, IGNORE])}"
        yield Problem(row.file, row.row, "unknown label", detail)


def _image_problems(rows: list[Row], file: str, path: Path, reason: str) -> list[Problem]:
    """One problem per row of an unreadable image, or one if it has no row."""
    kind = "unreadable image" if path.exists() else "missing image"
    places = [(row.file, row.row) for row in rows] or [(file, 0)]
    return [Problem(file, number, kind, reason) for file, number in places]
