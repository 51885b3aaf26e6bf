# SPDX-License-Identifier: Apache-2.0
"""Read labels in COCO format: one JSON file with images, annotations and categories."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mask_detector_ros.errors import SourceError
from mask_detector_ros.evaluation.label_files import IGNORE, Box, Labels, Problem, Row, find_image

FOLDERS = (".", "annotations", "*")


def find_coco(folder: Path) -> list[Path]:
    """Find COCO's JSON files in a folder, its subfolder `annotations` or its split folders."""
    found = {file for place in FOLDERS for file in folder.glob(f"{place}/*.json")}
    return sorted(file for file in found if _is_coco(file))


def read_coco(folder: Path, files: list[Path], split: str | None) -> Labels:
    """Read COCO annotations; a crowd (`iscrowd`) counts as a region to ignore.

    Args:
        folder: the data set. `file_name` is relative to it, to `images`, to the split's folder,
            or to the folder of the JSON file.
        split: only files with this word in their name, or in a folder of this name.

    Raises:
        SourceError: no file of this split, or a file cannot be read.
    """
    chosen = [
        file
        for file in files
        if split is None or split in file.stem or split in file.relative_to(folder).parts[:-1]
    ]
    if not chosen:
        names = ", ".join(file.name for file in files)
        raise SourceError(f"{folder} has no COCO file of split {split!r}; it has {names}")
    labels = Labels()
    for file in chosen:
        _read_file(labels, folder, file, split)
    return labels


def _read_file(labels: Labels, folder: Path, file: Path, split: str | None) -> None:
    name = file.relative_to(folder).as_posix()
    content = _load(file)
    categories = {c.get("id"): str(c.get("name", "")) for c in _entries(content, "categories")}
    images: dict[Any, Path] = {}
    for number, entry in enumerate(_entries(content, "images"), 1):
        wanted = entry.get("file_name")
        if not isinstance(wanted, str) or not wanted:
            labels.problems.append(Problem(name, number, "unreadable row", "image without a name"))
            continue
        wanted = unquote(wanted.removeprefix("file://")) if "://" in wanted else wanted
        beside = folder / split if split is not None and (folder / split).is_dir() else file.parent
        images[entry.get("id")] = find_image(folder, wanted, beside)
        labels.images.setdefault(images[entry.get("id")], name)
    for number, entry in enumerate(_entries(content, "annotations"), 1):
        image = images.get(entry.get("image_id"))
        if image is None:
            detail = f"there is no image {entry.get('image_id')!r}"
            labels.problems.append(Problem(name, number, "unreadable row", detail))
            continue
        label = IGNORE if entry.get("iscrowd") else categories.get(entry.get("category_id"), "")
        labels.rows.append(Row(name, number, image, _box(entry.get("bbox")), label))


def _box(values: Any) -> Box:
    """Convert x, y, width and height to corners; NaN for values that are not numbers."""
    try:
        left, top, width, height = (float(value) for value in values)
    except (TypeError, ValueError):
        return (float("nan"),) * 4
    return left, top, left + width, top + height


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(
            f"cannot read {file} ({error}); it must be JSON in COCO's form"
        ) from error
    return content if isinstance(content, dict) else {}


def _entries(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = content.get(key)
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _is_coco(file: Path) -> bool:
    """Whether a JSON file is COCO's, by its content: reports and settings are JSON too."""
    try:
        content = _load(file)
    except SourceError:
        # Report a broken file as COCO's only if its name suggests that it holds the labels.
        return "annotation" in file.stem or "instances" in file.stem
    return isinstance(content.get("images"), list) and isinstance(content.get("annotations"), list)
