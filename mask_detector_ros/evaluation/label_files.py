# SPDX-License-Identifier: Apache-2.0
"""Read label files: a CSV with one row per face, or PASCAL VOC XML."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from mask_detector_ros.errors import SourceError

CSV_COLUMNS = ("file", "xmin", "ymin", "xmax", "ymax", "label")
CORNERS = CSV_COLUMNS[1:5]
IMAGE_FOLDERS = ("images", "JPEGImages", ".")
NEGATIVES = "negatives.csv"
"""Lists images without faces, beside labels.csv. Columns: `file` and, optionally, `source` and
`split`."""

IGNORE = "ignore"
"""Label of ambiguous faces: a detection there is neither right nor wrong, and a miss does not
count."""

XML_FOLDERS = (".", "Annotations", "annotations", "images")

Box = tuple[float, float, float, float]
"""xmin, ymin, xmax, ymax in pixels, right and bottom exclusive; NaN for values that are missing."""


@dataclass(frozen=True)
class Problem:
    """The reason why a row of a label file is unusable.

    Attributes:
        file: the label file, relative to the data set.
        row: the line of a CSV, or the number of the object in an XML file, starting at 1; 0 for
            the whole file.
        kind: a category to count by.
        detail: details for the reader.
    """

    file: str
    row: int
    kind: str
    detail: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.row}" if self.row else self.file
        return f"{place}: {self.kind}: {self.detail}"


@dataclass(frozen=True)
class Row:
    """One labelled face as written in its label file."""

    file: str
    row: int
    image: Path
    box: Box
    label: str
    in_shares: bool = False
    """Whether the box is in fractions of the image's width and height."""

    def in_pixels(self, width: int, height: int) -> Row:
        """A label file's row in pixels; corners that rounding put just outside the image are moved
        in."""
        if not self.in_shares:
            return self
        size = (width, height, width, height)
        corners = [share * side for share, side in zip(self.box, size, strict=True)]
        near = [
            min(max(corner, 0), side) if -0.5 < corner < side + 0.5 else corner
            for corner, side in zip(corners, size, strict=True)
        ]
        return replace(self, box=(near[0], near[1], near[2], near[3]), in_shares=False)


@dataclass
class Labels:
    """The contents of a data set's label files.

    Attributes:
        rows: the labelled faces.
        problems: rows and files that could not be read.
        images: every listed image, including those without a face, and the file that lists it.
        sources: the source of each image, if the labels give it.
        negatives: the images listed as having no face.
    """

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    images: dict[Path, str] = field(default_factory=dict)
    sources: dict[Path, str] = field(default_factory=dict)
    negatives: set[Path] = field(default_factory=set)


def read_labels(folder: Path, split: str | None) -> Labels:
    """Read the label files of a folder: its CSV, else its XML files, else COCO or YOLO format.

    If a folder has both a CSV and XML files, the CSV is read and each XML file is a problem.

    Args:
        folder: the data set. Images lie in `images`, in `JPEGImages`, beside the labels or
            directly in it.
        split: only rows with this value in the column `split`, or images that
            `ImageSets/Main/<split>.txt` lists; None for all.

    Raises:
        SourceError: no such folder, no labels, or no rows of this split.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; give the folder of a data set")
    table, documents = find_csv(folder), find_documents(folder)
    if table is None and not documents:
        return _read_other_forms(folder, split)
    if table is None:
        return read_voc(folder, documents, split)
    labels = read_csv(folder, table, split)
    if (folder / NEGATIVES).is_file():
        _add_negatives(labels, folder, split)
    labels.problems += [
        Problem(_relative(d, folder), 0, "mixed formats", f"{table.name} is used instead")
        for d in documents
    ]
    return labels


def _read_other_forms(folder: Path, split: str | None) -> Labels:
    from mask_detector_ros.evaluation.coco_labels import find_coco, read_coco
    from mask_detector_ros.evaluation.yolo_labels import find_yolo, read_yolo

    if files := find_coco(folder):
        return read_coco(folder, files, split)
    if names_file := find_yolo(folder):
        return read_yolo(folder, names_file, split)
    raise SourceError(
        f"there are no labels in {folder}; give a folder with labels.csv (columns "
        f"{','.join(CSV_COLUMNS)}), PASCAL VOC XML files, a COCO JSON file, or YOLO's data.yaml"
    )


def find_csv(folder: Path) -> Path | None:
    """Find the CSV label file of a folder: labels.csv, or the only CSV.

    Raises:
        SourceError: there are several CSV files, and none is called labels.csv.
    """
    tables = sorted(table for table in folder.glob("*.csv") if table.name != NEGATIVES)
    if len(tables) > 1 and folder / "labels.csv" not in tables:
        names = ", ".join(table.name for table in tables)
        raise SourceError(f"{folder} has several CSV files ({names}); call one labels.csv")
    return folder / "labels.csv" if len(tables) > 1 else next(iter(tables), None)


def find_documents(folder: Path) -> list[Path]:
    """Find the XML label files in the places that PASCAL VOC and label tools use."""
    # On some file systems Annotations and annotations are the same folder.
    found = {file.resolve(): file for sub in XML_FOLDERS for file in (folder / sub).glob("*.xml")}
    return sorted(found.values())


def read_csv(folder: Path, table: Path, split: str | None) -> Labels:
    """Read a CSV label file with the columns `CSV_COLUMNS` and, if `split` is given, `split`.

    Raises:
        SourceError: columns are missing, the file cannot be read, or it has no row of the split.
    """
    labels, splits = Labels(), set()
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            wanted = [*CSV_COLUMNS, *(["split"] if split else [])]
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                raise SourceError(
                    f"{table} has no column {', '.join(missing)}; its first line must name them"
                )
            for record in reader:
                splits.add(record.get("split") or "")
                if split is None or record["split"] == split:
                    _add_record(labels, folder, table, reader.line_num, record)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"cannot read {table} ({error}); it must be a CSV in UTF-8") from error
    if not labels.rows and not labels.problems:
        known = ", ".join(sorted(filter(None, splits)))
        reason = f"no rows of split {split!r}; it has {known or 'no split'}" if split else "no rows"
        raise SourceError(f"{table} has {reason}")
    return labels


def _add_record(
    labels: Labels, folder: Path, table: Path, line: int, record: dict[str, str | None]
) -> None:
    name = record["file"]
    if not name:
        labels.problems.append(Problem(table.name, line, "unreadable row", "it names no file"))
        return
    if leaves_folder(name):
        labels.problems.append(_outside(table.name, line, name))
        return
    image = find_image(folder, name)
    labels.images.setdefault(image, table.name)
    labels.sources[image] = record.get("source") or ""
    label = (record["label"] or "").strip()
    box = _read_box([record[corner] for corner in CORNERS])
    labels.rows.append(Row(table.name, line, image, box, label))


def _add_negatives(labels: Labels, folder: Path, split: str | None) -> None:
    try:
        with (folder / NEGATIVES).open(newline="", encoding="utf-8-sig") as file:
            records = [r for r in csv.DictReader(file) if not split or r.get("split") == split]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"cannot read {folder / NEGATIVES} ({error})") from error
    for record in records:
        name = record.get("file")
        if name and leaves_folder(name):
            labels.problems.append(_outside(NEGATIVES, 0, name))
        elif name:
            image = find_image(folder, name)
            labels.images.setdefault(image, NEGATIVES)
            labels.sources[image] = record.get("source") or ""
            labels.negatives.add(image)


def read_voc(folder: Path, documents: list[Path], split: str | None) -> Labels:
    """Read PASCAL VOC label files, without changing the pixel coordinates.

    Raises:
        SourceError: no ImageSets/Main/<split>.txt, or no XML file for its images.
    """
    if split is not None:
        listing = folder / "ImageSets" / "Main" / f"{split}.txt"
        try:
            listed = {line.split()[0] for line in listing.read_text().splitlines() if line.strip()}
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(
                f"cannot read {listing} ({error}); it must list the images of split {split!r}"
            ) from error
        documents = [document for document in documents if document.stem in listed]
        if not documents:
            raise SourceError(f"no XML file of {folder} belongs to an image of {listing}")
    labels = Labels()
    for document in documents:
        name = _relative(document, folder)
        try:
            root = ElementTree.parse(document).getroot()
        except (OSError, ElementTree.ParseError) as error:
            labels.problems.append(Problem(name, 0, "unreadable file", str(error)))
            continue
        file = (root.findtext("filename") or "").strip()
        if root.tag != "annotation" or not file:
            detail = "it is not a PASCAL VOC annotation with a filename"
            labels.problems.append(Problem(name, 0, "unreadable file", detail))
            continue
        if leaves_folder(file):
            labels.problems.append(_outside(name, 0, file))
            continue
        image = find_image(folder, file, document.parent)
        labels.images.setdefault(image, name)
        for number, element in enumerate(root.iter("object"), 1):
            label = (element.findtext("name") or "").strip()
            box = _read_box([element.findtext(f"bndbox/{corner}") for corner in CORNERS])
            labels.rows.append(Row(name, number, image, box, label))
    return labels


def _read_box(texts: list[str | None]) -> Box:
    """The four numbers; NaN for invalid ones, so that one check finds every bad box."""

    def number(text: str | None) -> float:
        try:
            return float(text or "nan")
        except ValueError:
            return float("nan")

    xmin, ymin, xmax, ymax = map(number, texts)
    return xmin, ymin, xmax, ymax


def leaves_folder(name: str) -> bool:
    """Whether a file name in a label file points outside the data set."""
    path = PurePath(name)
    return path.is_absolute() or ".." in path.parts or "\0" in name


def _outside(file: str, row: int, name: str) -> Problem:
    return Problem(file, row, "outside the data set", f"{name!r} points outside the folder")


def find_image(folder: Path, name: str, beside: Path | None = None) -> Path:
    """Find the image that a label file names; the first possible path if it does not exist."""
    places = [folder / sub / name for sub in IMAGE_FOLDERS]
    places += [beside / name] if beside else []
    return next((place for place in places if place.is_file()), places[0])


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()
