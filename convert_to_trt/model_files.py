# SPDX-License-Identifier: Apache-2.0
"""Identify the kind of a model file and describe it, without running its code."""

from __future__ import annotations

import json
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mask_detector_ros.errors import ModelError
from mask_detector_ros.foreign_files import (
    HDF5_SIGNATURE,
    PYTORCH,
    TFLITE_SIGNATURE,
    ZIP_SIGNATURE,
    find_foreign,
)

HDF5, KERAS_ZIP, KERAS_JSON, SAVED_MODEL, FROZEN_GRAPH, TFLITE, TFJS, ONNX = (
    *("Keras HDF5", "Keras archive", "Keras JSON", "SavedModel", "frozen graph"),
    *("TensorFlow Lite", "TensorFlow.js", "ONNX"),
)

ARCHIVE_LIMIT, JSON_LIMIT = 2 << 30, 64 << 20
"""Maximum bytes that a Keras archive, and the JSON in it, may unpack to."""

_READS = (
    "give an .h5, .model, .keras, .tflite, .pb or .onnx file, a Keras or TensorFlow.js .json,"
    " a zip of one of them, or a SavedModel folder"
)


def find_kind(path: Path) -> str:
    """The kind of a model, by content if possible, otherwise by suffix.

    A `.model` may be HDF5 or a SavedModel folder, and a `.keras` of Keras 2 may be HDF5.

    Raises:
        ModelError: there is no such file, or its kind is unknown.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return SAVED_MODEL
        raise ModelError(f"{path} is a folder without saved_model.pb, no SavedModel; {_READS}")
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror}); {_READS}") from error
    if head.startswith(HDF5_SIGNATURE):
        return HDF5
    if head.startswith(ZIP_SIGNATURE):
        return _find_archive_kind(path)
    if head[4:8] == TFLITE_SIGNATURE:
        return TFLITE
    if problem := find_foreign(head):
        raise ModelError(f"{path} is no model: {problem}")
    if head.lstrip()[:1] == b"{":
        return _find_json_kind(path)
    if path.name == "saved_model.pb":
        raise ModelError(f"{path} is a part of a SavedModel; give its folder, {path.parent}")
    # Protocol buffers have no signature.
    kind = {".pb": FROZEN_GRAPH, ".onnx": ONNX}.get(path.suffix.lower())
    if kind == FROZEN_GRAPH and _is_saved_model(head):
        raise ModelError(
            f"{path} is the saved_model.pb of a SavedModel under another name; put it back into"
            " its folder as saved_model.pb, beside variables/, and give the folder"
        )
    if kind is None or not head:
        what = "is empty" if not head else "is damaged, or of a kind that this cannot read"
        raise ModelError(f"{path} {what}; {_READS}")
    return kind


def _is_saved_model(head: bytes) -> bool:
    """Whether a protocol buffer begins as a SavedModel: schema version 1, then a meta graph.

    A GraphDef begins with a node, field 1 of bytes.
    """
    return head[:3] == b"\x08\x01\x12"


def _find_archive_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        # What is wrong with it is said on reading it.
        return KERAS_ZIP
    if "config.json" in names and "metadata.json" in names:
        return KERAS_ZIP
    if any(re.search(r"(^|/)data\.pkl$", name) for name in names):
        raise ModelError(f"{path} is no model that this reads: {PYTORCH}")
    # Damaged Keras archives lack a part; what is wrong with it is said on reading it.
    if path.suffix.lower() == ".keras":
        return KERAS_ZIP
    shown = ", ".join(names[:5]) or "nothing"
    raise ModelError(f"{path} is a zip of {shown}; unpack it and give the model within")


def _find_json_kind(path: Path) -> str:
    content = read_json(path)
    if "modelTopology" in content or "weightsManifest" in content:
        if content.get("format") == "graph-model":
            raise ModelError(
                f"{path} is a TensorFlow.js graph model, from which no Keras model can be made;"
                " convert the SavedModel or .h5 that it was made from"
            )
        return TFJS
    if "class_name" in content and "config" in content:
        return KERAS_JSON
    raise ModelError(f"{path} is a JSON file, but not of a Keras model; {_READS}")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelError: there is none, or it is nested too deeply to be a model.
    """
    try:
        return dict(parse_json(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def parse_json(text: str | bytes) -> Any:
    """Parse untrusted JSON.

    Raises:
        ValueError: it is malformed, or nested so deeply that Python's parser gives up.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


@dataclass(frozen=True)
class KerasFile:
    """The description in a Keras file.

    Attributes:
        config: the architecture, as Keras serialises it.
        major: the major version of the Keras that wrote it.
    """

    config: dict[str, Any]
    major: int


def read_keras_archive(path: Path) -> KerasFile:
    """The description inside a `.keras` archive.

    Raises:
        ModelError: the archive is damaged, too large, or not a Keras model.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _require_plain_archive(path, archive)
            config = parse_json(archive.read("config.json"))
            version = parse_json(archive.read("metadata.json"))["keras_version"]
        # Losses and metrics are not needed without training.
        config = {k: v for k, v in dict(config).items() if k != "compile_config"}
        return KerasFile(config, _major(version))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError, EOFError) as error:
        raise _damaged(path, error) from error


def _require_plain_archive(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise where unpacking an archive would fill the disk or write outside its folder."""
    for entry in archive.infolist():
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        is_link = stat.S_ISLNK(entry.external_attr >> 16)
        if is_link or ".." in parts or parts[:1] == ("/",) or ":" in entry.filename:
            raise ModelError(
                f"{path} holds the entry {entry.filename!r}, which would be written outside its"
                " folder; such a file is made to do harm, do not use it"
            )
    size = sum(entry.file_size for entry in archive.infolist())
    texts = sum(e.file_size for e in archive.infolist() if e.filename.endswith(".json"))
    if size > ARCHIVE_LIMIT or texts > JSON_LIMIT:
        raise ModelError(
            f"{path} unpacks to {size / 1e9:.1f} GB, {texts / 1e6:.0f} MB of it JSON; no mask"
            " classifier is that large, get the file again"
        )


def read_keras_json(path: Path) -> KerasFile:
    """Read the architecture that `model.to_json()` wrote.

    Raises:
        ModelError: the file is damaged.
    """
    content = read_json(path)
    try:
        # Keras 3 gives no version, but the module of each layer.
        version = str(content.get("keras_version") or ("3" if "module" in content else "2"))
        return KerasFile(content, _major(version))
    except ValueError as error:
        raise _damaged(path, error) from error


def read_keras_hdf5(path: Path) -> KerasFile:
    """The description inside an HDF5 file of Keras.

    Raises:
        ModelError: the file is damaged or holds no model.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            for name in _outside_hdf5(file):
                raise ModelError(
                    f"{path} takes {name} from another file; save the whole model into one file"
                )
            if "model_config" not in file.attrs:
                raise ModelError(
                    f"{path} holds no model, perhaps weights only; write the whole model with"
                    " model.save(...), or its architecture beside it with"
                    f" open('{path.stem}.json', 'w').write(model.to_json()) and give that file"
                )
            config = parse_json(_text(file.attrs["model_config"]))
            group = file["model_weights"]
            version = group.attrs.get("keras_version", file.attrs.get("keras_version", "1"))
            return KerasFile(dict(config), _major(_text(version)))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def _outside_hdf5(group: Any) -> Iterator[str]:
    """Names of the parts of an HDF5 file that would be read from other files."""
    import h5py

    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            yield f"{group.name.rstrip('/')}/{name}"
            continue
        part = group.get(name)
        if isinstance(part, h5py.Group):
            yield from _outside_hdf5(part)
        elif isinstance(part, h5py.Dataset) and (part.external or part.is_virtual):
            yield part.name


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelError(f"{path} is damaged or no Keras model ({reason}); get the file again")
