# SPDX-License-Identifier: Apache-2.0
"""From the path that a user gives to the model, its labels and what else lies beside it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from convert_to_trt.model_files import HDF5, KERAS_JSON, TFJS, TFLITE, find_kind, parse_json
from mask_detector_ros.errors import ModelError, ParameterError

SIZE_LIMIT = 2 << 30
"""Bytes that a zip may unpack to: far above any classifier, far below a full disk."""

_MODELS = (".h5", ".keras", ".tflite", ".onnx", ".pb", ".json")
_NO_MODELS = ("metadata.json", "package.json", "class_indices.json", "labels.json")

PIXELS_OF_TEACHABLE_MACHINE = {"color": "RGB", "scale": str(1 / 127.5), "offset": "-1.0"}
"""What the snippets that Teachable Machine exports with every image model do with the pixels."""


@dataclass(frozen=True)
class Container:
    """A model as a user has it.

    Attributes:
        path: the model itself.
        kind: of it, as of `model_files.find_kind`.
        weights: the file of the weights of a `KERAS_JSON`.
        metadata: what lies beside the model says: `labels` (a JSON list), and preprocessing; in
            the words of the ONNX metadata, see models/README.md.
        sources: where each entry of `metadata` comes from, for the report.
    """

    path: Path
    kind: str
    weights: Path | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


@contextmanager
def open_container(path: Path) -> Iterator[Container]:
    """Find the model in a file, a zip or a folder; a zip stays unpacked until the end.

    Raises:
        ModelError: there is no model, or several.
    """
    if is_bundle(path):
        with TemporaryDirectory() as folder:
            yield _describe(_unpack(path, Path(folder)), path.name)
    else:
        yield _describe(path, "")


def is_bundle(path: Path) -> bool:
    """Whether a file is a zip with a model in it, and none that is a model itself."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        # What is wrong with it is said on reading it.
        return False
    is_keras = path.suffix.lower() == ".keras" or {"config.json", "metadata.json"} <= set(names)
    return not is_keras and not any(name.endswith("data.pkl") for name in names)


def _unpack(path: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir() and _is_plain(e.filename)]
            if sum(entry.file_size for entry in entries) > SIZE_LIMIT:
                raise ModelError(f"{path} unpacks to more than {SIZE_LIMIT >> 30} GB, no model")
            for entry in entries:
                archive.extract(entry, folder)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
        raise ModelError(f"{path} is a damaged zip ({error}); get the file again") from error
    saved = [p.parent for p in folder.rglob("saved_model.pb")]
    found = saved or sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in _MODELS and p.name.lower() not in _NO_MODELS
    )
    if len(found) != 1:
        shown = ", ".join(str(p.relative_to(folder)) for p in found[:6]) or "none"
        raise ModelError(
            f"{path} must hold one model, found: {shown}; unpack it and give the model within"
        )
    return found[0]


def _is_plain(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return ".." not in parts and not name.startswith("/") and "__MACOSX" not in parts


def _describe(path: Path, archive: str) -> Container:
    kind = find_kind(path)
    weights = _find_weights(path) if kind == KERAS_JSON else None
    metadata, sources = {}, {}
    for name in ("labels.txt", "metadata.json"):
        beside = (path if path.is_dir() else path.parent) / name
        labels = _beside_labels(beside)
        if labels and "labels" not in metadata:
            metadata["labels"] = json.dumps(labels)
            sources["labels"] = f"{name} in {archive}" if archive else f"{name} beside the model"
    if _is_teachable_machine(path, kind):
        metadata.update(PIXELS_OF_TEACHABLE_MACHINE)
        sources["preprocessing"] = "Teachable Machine, which always uses x/127.5-1 in RGB"
    return Container(path, kind, weights, metadata, sources)


def _is_teachable_machine(path: Path, kind: str) -> bool:
    """Whether the model has a name, or its labels have the numbers, that it gives."""
    if kind == TFJS:
        beside = path.with_name("metadata.json")
        return beside.is_file() and b"@teachablemachine/image" in beside.read_bytes()
    labels = path.with_name("labels.txt")
    if kind not in (HDF5, TFLITE) or not labels.is_file():
        return False
    known = path.name in ("keras_model.h5", "model_unquant.tflite")
    return known or is_numbered(labels.read_text(encoding="utf-8", errors="replace").split("\n"))


def _beside_labels(path: Path) -> tuple[str, ...]:
    """Labels in a file beside the model; none where it is of something else."""
    try:
        return read_label_file(path) if path.is_file() else ()
    except ParameterError:
        return ()


def read_label_file(path: Path) -> tuple[str, ...]:
    """Labels from a text file, one a line, numbered or not, or from JSON.

    JSON may be a list, Keras's `class_indices` (name to number), its inverse, or the
    `metadata.json` of Teachable Machine.

    Raises:
        ParameterError: the file cannot be read, or holds no labels.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"cannot read the labels in {path} ({error})") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if path.suffix.lower() == ".json":
        lines = _labels_of_json(path, text)
    if is_numbered(lines):
        lines = [line.partition(" ")[2].strip() for line in lines]
    if len(lines) < 2 or len(set(lines)) < len(lines):
        raise ParameterError(f"{path} must name two or more different labels, one a line")
    return tuple(lines)


def is_numbered(lines: list[str]) -> bool:
    """Whether labels are in the form of Teachable Machine, `0 Mask` and `1 No Mask`."""
    parts = [line.strip().partition(" ") for line in lines if line.strip()]
    return bool(parts) and all(
        number.rstrip(":.") == str(i) and name for i, (number, _, name) in enumerate(parts)
    )


def _labels_of_json(path: Path, text: str) -> list[str]:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ParameterError(f"cannot read the labels in {path} ({error})") from error
    if isinstance(content, dict) and "labels" in content:
        content = content["labels"]
    if isinstance(content, dict):
        numbers = all(isinstance(value, int) for value in content.values())
        pairs = ((v, k) if numbers else (k, v) for k, v in content.items())
        content = [name for _, name in sorted(pairs, key=lambda pair: str(pair[0]).zfill(9))]
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise ParameterError(f"{path} must be a JSON list of labels, or map them to their numbers")
    return [name.strip() for name in content]


def _find_weights(path: Path) -> Path:
    """The weights that belong to a Keras architecture in JSON: the same stem, or the only HDF5."""
    files = sorted({*path.parent.glob("*.h5"), *path.parent.glob("*.hdf5")})
    same = [p for p in files if p.name.split(".")[0] == path.stem] or files
    if len(same) != 1 or find_kind(same[0]) != HDF5:
        found = ", ".join(p.name for p in same) or "none"
        raise ModelError(
            f"{path} is an architecture without weights, and must lie beside one .h5 of weights,"
            f" best {path.stem}.h5; found: {found}"
        )
    return same[0]
