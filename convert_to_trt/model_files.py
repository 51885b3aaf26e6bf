# SPDX-License-Identifier: Apache-2.0
"""Identify the kind of a model file by its content, without running its code."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from convert_to_trt.pytorch_files import describe_pytorch
from mask_detector_ros import foreign_files
from mask_detector_ros.errors import ModelError

HDF5, KERAS_ZIP, KERAS_JSON, SAVED_MODEL, FROZEN_GRAPH, TFLITE, TFJS, TFJS_GRAPH, ONNX = (
    *("Keras HDF5", "Keras archive", "Keras JSON", "SavedModel", "frozen graph"),
    *("TensorFlow Lite", "TensorFlow.js", "TensorFlow.js graph", "ONNX"),
)

_READS = (
    "give an .h5, .model, .keras, .tflite, .pb or .onnx file, a Keras or TensorFlow.js .json,"
    " a zip of one of them, or a SavedModel folder"
)


def find_kind(path: Path) -> str:
    """Find the kind of a model file, by content if possible, otherwise by suffix.

    A `.model` may be HDF5 or a SavedModel folder, and a `.keras` of Keras 2 may be HDF5.

    Raises:
        ModelError: there is no such file, or its kind is unknown.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return SAVED_MODEL
        problem = foreign_files.find_other_format(path.suffix) or f"no SavedModel; {_READS}"
        raise ModelError(f"{path} is a folder without saved_model.pb: {problem}")
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror}); {_READS}") from error
    if head.startswith(foreign_files.HDF5_SIGNATURE):
        return HDF5
    if head.startswith(foreign_files.ZIP_SIGNATURE):
        return _find_archive_kind(path)
    if head[4:8] == foreign_files.TFLITE_SIGNATURE:
        return TFLITE
    if problem := foreign_files.find_foreign(head):
        problem = describe_pytorch(path) if problem == foreign_files.PYTORCH else problem
        raise ModelError(f"{path} is not a model that this command reads: {problem}")
    if head.lstrip()[:1] == b"{":
        return _find_json_kind(path)
    if problem := foreign_files.find_other_format(path.suffix):
        raise ModelError(f"{path} is not a model that this command reads: {problem}")
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
        problem = describe_pytorch(path)
        raise ModelError(f"{path} is not a model that this command reads: {problem}")
    # Damaged Keras archives lack a part; what is wrong with it is said on reading it.
    if path.suffix.lower() == ".keras":
        return KERAS_ZIP
    shown = ", ".join(names[:5]) or "nothing"
    raise ModelError(f"{path} is a zip of {shown}; unpack it and give the model within")


def _find_json_kind(path: Path) -> str:
    content = read_json(path)
    if "modelTopology" in content or "weightsManifest" in content:
        topology = content.get("modelTopology")
        if isinstance(topology, dict) and "node" in topology:
            return TFJS_GRAPH
        return TFJS
    if "class_name" in content and "config" in content:
        return KERAS_JSON
    raise ModelError(f"{path} is a JSON file, but not of a Keras model; {_READS}")


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in an untrusted model file.

    Raises:
        ModelError: there is none, or it is nested too deeply to be a model.
    """
    try:
        return dict(parse_json(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise damaged_file(path, error) from error


def parse_json(text: str | bytes) -> Any:
    """Parse the untrusted JSON of a model file.

    Raises:
        ValueError: it is malformed, or nested so deeply that Python's parser gives up.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def damaged_file(path: Path, error: Exception) -> ModelError:
    """The error for a model file that cannot be read as a Keras model."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelError(f"{path} is damaged or no Keras model ({reason}); get the file again")
