"""What kind of model a file is, and what it carries, without loading any code of it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mask_detector_ros.errors import ModelError

HDF5, KERAS_ZIP, SAVED_MODEL, FROZEN_GRAPH, ONNX = (
    *("Keras HDF5", "Keras archive", "SavedModel", "frozen graph", "ONNX"),
)

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_READS = "give an .h5, .model, .keras, .pb or .onnx file, or a SavedModel folder"


def find_kind(path: Path) -> str:
    """The kind of a model, by its content where that tells, else by its suffix.

    A `.model` may be HDF5 or a SavedModel folder, and a `.keras` of Keras 2 may be HDF5.

    Raises:
        ModelError: there is no such file, or it is of no known kind.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return SAVED_MODEL
        raise ModelError(f"{path} is a folder without saved_model.pb, no SavedModel; {_READS}")
    try:
        with path.open("rb") as file:
            head = file.read(len(_HDF5_SIGNATURE))
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror}); {_READS}") from error
    if head == _HDF5_SIGNATURE:
        return HDF5
    if head.startswith(b"PK\x03\x04"):
        return KERAS_ZIP
    if path.name == "saved_model.pb":
        raise ModelError(f"{path} is a part of a SavedModel; give its folder, {path.parent}")
    # Protocol buffers have no signature.
    kind = {".pb": FROZEN_GRAPH, ".onnx": ONNX}.get(path.suffix.lower())
    if kind is None or not head:
        raise ModelError(f"{path} is damaged, or a kind of file this cannot read; {_READS}")
    return kind


@dataclass(frozen=True)
class KerasFile:
    """What a Keras file says about itself.

    Attributes:
        config: the architecture, as Keras serialises it.
        major: the major version of the Keras that wrote it.
    """

    config: dict[str, Any]
    major: int


def read_keras_archive(path: Path) -> KerasFile:
    """The description inside a `.keras` archive.

    Raises:
        ModelError: the archive is damaged or no Keras model.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            version = json.loads(archive.read("metadata.json"))["keras_version"]
        # Nobody trains it here, so losses and metrics are not loaded.
        config = {k: v for k, v in dict(config).items() if k != "compile_config"}
        return KerasFile(config, _major(version))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError, EOFError) as error:
        raise _damaged(path, error) from error


def read_keras_hdf5(path: Path) -> KerasFile:
    """The description inside an HDF5 file of Keras.

    Raises:
        ModelError: the file is damaged or holds no model.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise ModelError(
                    f"{path} holds no model, perhaps weights only;"
                    " write the whole model with model.save(...)"
                )
            config = json.loads(_text(file.attrs["model_config"]))
            group = file["model_weights"]
            version = group.attrs.get("keras_version", file.attrs.get("keras_version", "1"))
            return KerasFile(dict(config), _major(_text(version)))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelError(f"{path} is damaged or no Keras model ({reason}); get the file again")
