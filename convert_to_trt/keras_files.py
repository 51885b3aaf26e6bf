# SPDX-License-Identifier: Apache-2.0
"""Read the architecture in a Keras file (HDF5, archive or JSON) without running its code."""

import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from convert_to_trt.model_files import damaged_file, parse_json, read_json
from mask_detector_ros.errors import ModelError

ARCHIVE_LIMIT, JSON_LIMIT = 2 << 30, 64 << 20
"""Maximum bytes that a Keras archive, and the JSON in it, may unpack to."""


@dataclass(frozen=True)
class KerasFile:
    """The architecture in a Keras file.

    Attributes:
        config: the architecture, as Keras serialises it.
        major: the major version of the Keras that wrote it.
    """

    config: dict[str, Any]
    major: int


def read_keras_archive(path: Path) -> KerasFile:
    """Read the architecture in a `.keras` archive, without running its code.

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
        raise damaged_file(path, error) from error


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
    """Read the architecture in a Keras JSON file, which `model.to_json()` wrote.

    Raises:
        ModelError: the file is damaged.
    """
    content = read_json(path)
    try:
        # Keras 3 gives no version, but the module of each layer.
        version = str(content.get("keras_version") or ("3" if "module" in content else "2"))
        return KerasFile(content, _major(version))
    except ValueError as error:
        raise damaged_file(path, error) from error


def read_keras_hdf5(path: Path) -> KerasFile:
    """Read the architecture in a Keras HDF5 file, without running its code.

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
        raise damaged_file(path, error) from error


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
