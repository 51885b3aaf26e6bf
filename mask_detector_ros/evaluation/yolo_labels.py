# SPDX-License-Identifier: Apache-2.0
"""Read labels in YOLO format: a text file per image, and the class names."""

from pathlib import Path
from typing import Any

import yaml

from mask_detector_ros.errors import SourceError
from mask_detector_ros.evaluation.label_files import Labels, Problem, Row
from mask_detector_ros.sources.images import is_image

SETTINGS = ("data.yaml", "data.yml", "dataset.yaml")
NAME_LISTS = ("classes.txt", "obj.names", "labels/classes.txt")


def find_yolo(folder: Path) -> Path | None:
    """Find the file that names the classes of YOLO labels: data.yaml, or the classes.txt of label
    tools."""
    places = [folder / name for name in (*SETTINGS, *NAME_LISTS)]
    return next((place for place in places if place.is_file()), None)


def read_yolo(folder: Path, names_file: Path, split: str | None) -> Labels:
    """Read YOLO labels: a text file per image. An empty or missing one means no face.

    Args:
        folder: the data set: `images/SPLIT` and `labels/SPLIT`, `SPLIT/images` and
            `SPLIT/labels`, or images and labels together.
        split: only folders of this name.

    Raises:
        SourceError: the names cannot be read, or the split has no image.
    """
    names = read_names(names_file)
    labels = Labels()
    for image in sorted(p for p in folder.rglob("*") if is_image(p) and p.is_file()):
        parts = image.relative_to(folder).parts[:-1]
        if split is None or split in parts:
            _read_image(labels, folder, image, names)
    if not labels.images:
        of_split = f" of split {split!r}" if split else ""
        raise SourceError(f"there is no image{of_split} in {folder}; give the folder of a data set")
    return labels


def read_names(file: Path) -> dict[int, str]:
    """Read the class names of YOLO labels, by number.

    Raises:
        SourceError: they cannot be read, or are neither a list nor numbered.
    """
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix not in (".yaml", ".yml"):
            return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
        content: Any = yaml.safe_load(text)
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, list):
            return dict(enumerate(map(str, names)))
        if isinstance(names, dict):
            return {int(number): str(name) for number, name in names.items()}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SourceError(f"cannot read {file} ({error}); it must name the classes") from error
    raise SourceError(f"{file} has no list `names`; write the classes there")


def _read_image(labels: Labels, folder: Path, image: Path, names: dict[int, str]) -> None:
    file = _label_file(image)
    name = file.relative_to(folder).as_posix()
    labels.images[image] = name
    if not file.is_file():
        return
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        labels.problems.append(Problem(name, 0, "unreadable file", str(error)))
        return
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            kind, *values = line.split()
            box = _box([float(value) for value in values])
            label = names.get(int(kind), kind)
        except ValueError:
            labels.problems.append(Problem(name, number, "unreadable row", line.strip()))
            continue
        labels.rows.append(Row(name, number, image, box, label, in_shares=True))


def _box(values: list[float]) -> tuple[float, float, float, float]:
    """Corners from centre and size (a confidence may follow) or from a polygon."""
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(values)} numbers")
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])


def _label_file(image: Path) -> Path:
    """The label file: `labels` replaces the path's last folder `images`; else beside the image."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")
