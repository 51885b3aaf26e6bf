# SPDX-License-Identifier: Apache-2.0
"""Find the model, its labels and other files in a folder or zip that the user gives."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from convert_to_trt.model_files import (
    HDF5,
    KERAS_JSON,
    SAVED_MODEL,
    TFJS,
    TFLITE,
    find_kind,
    parse_json,
)
from convert_to_trt.model_label_files import (
    BESIDE,
    SIZE_LIMIT,
    is_numbered,
    parse_labels,
    read_label_file,
)
from mask_detector_ros.errors import ModelError, ParameterError
from mask_detector_ros.foreign_files import ZIP_SIGNATURE, find_other_format

UNPACKED_LIMIT = 2 << 30
"""Maximum bytes that a zip may unpack to: far above any classifier, far below a full disk."""

_MODELS = (".h5", ".hdf5", ".keras", ".tflite", ".onnx", ".pb", ".json")
_WEIGHTS = (".h5", ".hdf5")
_OTHERS = (".pt", ".pth", ".pkl", ".mlmodel", ".xml", ".safetensors", ".engine", ".zip")
_MANIFEST = "cvexport.manifest"
"""Custom Vision's description of an export."""

_PREPROCESSOR = "preprocessor_config.json"
"""Hugging Face's description of the preprocessing."""

_LARGEST_SIDE = 4096
"""Pixels; no classifier of face crops takes more."""

_NO_MODELS = (
    *(*BESIDE, "metadata_properties.json", "package.json", _PREPROCESSOR),
    *("keras_metadata.pb", "fingerprint.pb"),
)

PIXELS_OF_TEACHABLE_MACHINE = {"color": "RGB", "scale": str(1 / 127.5), "offset": "-1.0"}
"""Preprocessing in the code that Teachable Machine exports with every image model."""


@dataclass(frozen=True)
class ModelBundle:
    """A model as the user provides it: a file, a folder or a zip with its labels.

    Attributes:
        path: path of the model.
        kind: its kind, see `model_files.find_kind`.
        weights: the file with the weights of a `KERAS_JSON`.
        metadata: `labels` (a JSON list) and preprocessing from files beside the model, in the form
            of ONNX metadata; see models/README.md. `labels_problem` tells what is wrong with a file
            of labels.
        sources: origin of each entry of `metadata`, for the report.
    """

    path: Path
    kind: str
    weights: Path | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


@contextmanager
def open_bundle(path: Path) -> Iterator[ModelBundle]:
    """Open a bundle: find the model and its other files in a file, a zip or a folder; a zip stays
    unpacked until the end.

    Raises:
        ModelError: there is no model, or several.
    """
    if path.suffix.lower() == ".tm":
        raise ModelError(
            f"{path} is a project of Teachable Machine, with its images; export the model there and"
            " give the zip"
        )
    if is_bundle(path):
        with TemporaryDirectory() as temporary:
            # Labels are looked for beside a SavedModel, too: that place must be ours.
            folder = Path(temporary) / "unpacked"
            _unpack(path, folder)
            try:
                yield _describe(_find_model(folder, path), path.name)
            except (ModelError, ParameterError) as error:
                # The user knows the zip, not the folder that it was unpacked to.
                raise type(error)(str(error).replace(str(folder), str(path))) from error
    elif is_folder_of_files(path):
        yield _describe(_find_model(path, path), "")
    else:
        yield _describe(path, "")


def is_folder_of_files(path: Path) -> bool:
    """Whether a folder contains a model file, rather than being a model format that is a folder."""
    is_model = (path / "saved_model.pb").is_file() or find_other_format(path.suffix)
    return path.is_dir() and not is_model


def is_bundle(path: Path) -> bool:
    """Whether a file is a zip that contains a model file, rather than a model format that is a
    zip."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with path.open("rb") as file:
            # A .tflite file may end in a zip of its labels.
            if file.read(4) != ZIP_SIGNATURE:
                return False
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        # Reading it reports what is wrong with it.
        return False
    is_keras = path.suffix.lower() == ".keras" or {"config.json", "metadata.json"} <= set(names)
    return not is_keras and not any(name.endswith("data.pkl") for name in names)


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir() and _is_plain(e.filename)]
            if sum(entry.file_size for entry in entries) > UNPACKED_LIMIT:
                raise ModelError(f"{path} unpacks to more than {UNPACKED_LIMIT >> 30} GB, no model")
            for entry in entries:
                archive.extract(entry, folder)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
        raise ModelError(f"{path} is a damaged zip ({error}); get the file again") from error


def _find_model(folder: Path, source: Path) -> Path:
    """The one model below a folder.

    Args:
        folder: folder to search.
        source: the path that the user gave, for errors.
    """
    saved = [p.parent for p in folder.rglob("saved_model.pb")]
    found = saved or sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in _MODELS and p.name.lower() not in _NO_MODELS
    )
    described = [p for p in found if p.suffix.lower() == ".json"]
    if len(described) == 1 and all(p.suffix.lower() in _WEIGHTS for p in {*found} - {*described}):
        # The others are the weights of this architecture.
        found = described
    if not found:
        # A file of another kind is named as such on reading it.
        found = [p for p in folder.rglob("*") if p.suffix.lower() in _OTHERS]
    if len(found) != 1:
        shown = ", ".join(str(p.relative_to(folder)) for p in found[:6]) or "none"
        raise ModelError(
            f"{source} must hold one model, found: {shown}; give the path of the model itself"
        )
    return found[0]


def _is_plain(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return ".." not in parts and not name.startswith("/") and "__MACOSX" not in parts


def _describe(path: Path, archive: str) -> ModelBundle:
    kind = find_kind(path)
    _reject_detector(path)
    weights = _find_weights(path) if kind == KERAS_JSON else None
    metadata, sources = {}, {}
    labels, source = _packed_labels(path) if kind == TFLITE else ((), "")
    # Teachable Machine and Custom Vision put the labels beside the folder of a SavedModel.
    folders = (path, path.parent) if path.is_dir() else (path.parent,)
    for beside in (folder / name for folder in folders for name in BESIDE):
        if labels or not beside.is_file():
            continue
        place = f"{beside.name} in {archive}" if archive else f"{beside.name} beside the model"
        try:
            labels, source = read_label_file(beside), place
        except ParameterError as error:
            if "label" in beside.name or "class" in beside.name:
                metadata["labels_problem"] = f"{error}; "
    if labels:
        metadata["labels"] = json.dumps(labels)
        sources["labels"] = source
    if pixels := _read_preprocessor(path.with_name(_PREPROCESSOR)):
        metadata.update(pixels)
        sources.update(dict.fromkeys(pixels, f"{_PREPROCESSOR} beside the model"))
    if _is_teachable_machine(path, kind):
        metadata.update(PIXELS_OF_TEACHABLE_MACHINE)
        told = "Teachable Machine, which always uses x/127.5-1 in RGB"
        sources.update(dict.fromkeys(PIXELS_OF_TEACHABLE_MACHINE, told))
    return ModelBundle(path, kind, weights, metadata, sources)


def _read_preprocessor(path: Path) -> dict[str, str]:
    """Preprocessing in a file of Hugging Face's image processors, which take RGB; empty for none.

    Source of its fields and their defaults: https://huggingface.co/docs/transformers,
    `BaseImageProcessor`.
    """
    if not path.is_file() or path.stat().st_size > SIZE_LIMIT:
        return {}
    try:
        told = dict(parse_json(path.read_bytes()))
        scale = float(told.get("rescale_factor", 1 / 255)) if told.get("do_rescale", True) else 1.0
        found = {"color": "RGB", "scale": str(scale), "offset": "0.0"}
        if told.get("do_normalize", True) and "image_mean" in told:
            for key, name in (("channel_mean", "image_mean"), ("channel_std", "image_std")):
                found[key] = ",".join(str(float(value)) for value in told[name])
        size = told.get("crop_size") or told.get("size") or {}
        side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge", 0))
        return {**found, "input_size": str(int(side))} if 0 < side <= _LARGEST_SIDE else found
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _reject_detector(path: Path) -> None:
    """Raise where Custom Vision's manifest beside a model says that it finds objects."""
    folder = path.parent
    for manifest in (folder / _MANIFEST, path / _MANIFEST):
        if manifest.is_file() and b"ObjectDetection" in manifest.read_bytes()[:SIZE_LIMIT]:
            raise ModelError(
                f"{path} is an object detector, as {manifest.name} beside it says; the node finds"
                " the faces itself and needs a classifier of face crops: train a classification"
                " project of the domain General (compact)"
            )


def _is_teachable_machine(path: Path, kind: str) -> bool:
    """Whether the model's name or numbered labels are those that Teachable Machine gives."""
    if kind == TFJS:
        beside = path.with_name("metadata.json")
        return beside.is_file() and b"@teachablemachine/image" in beside.read_bytes()
    labels = path.with_name("labels.txt")
    if kind not in (HDF5, TFLITE, SAVED_MODEL) or not labels.is_file():
        return False
    if path.name in ("keras_model.h5", "model_unquant.tflite"):
        return True
    lines = labels.read_text(encoding="utf-8", errors="replace").split("\n")
    return is_numbered(lines) and (kind != SAVED_MODEL or path.name == "model.savedmodel")


def _packed_labels(path: Path) -> tuple[tuple[str, ...], str]:
    """Labels in the zip that TensorFlow Lite's metadata tools append to a model, and their file."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".txt") and entry.file_size <= SIZE_LIMIT:
                    labels = parse_labels(archive.read(entry), entry.filename)
                    return labels, f"{entry.filename} in the model"
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ParameterError):
        # Most models have no such zip, and one that is damaged only lacks labels.
        pass
    return (), ""


def _find_weights(path: Path) -> Path:
    """The weights that belong to a Keras architecture in JSON: the same stem, or the only HDF5."""
    files = sorted({*path.parent.glob("*.h5"), *path.parent.glob("*.hdf5")})
    same = [p for p in files if p.name.split(".")[0] == path.stem] or files
    if len(same) != 1 or find_kind(same[0]) != HDF5:
        found = ", ".join(p.name for p in same) or "none"
        raise ModelError(
            f"{path} is an architecture without weights, and must have one .h5 file of weights "
            f"beside it, preferably {path.stem}.h5; found: {found}"
        )
    return same[0]
