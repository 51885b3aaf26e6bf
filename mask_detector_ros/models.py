"""The model files that come with the package: where they are, what they are, are they intact."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from mask_detector_ros.errors import ModelError
from mask_detector_ros.shared_files import PACKAGE, find_shared

STAGES = ("pnet", "rnet", "onet")
DETECTORS = ("mtcnn_masked", "mtcnn")
"""The face detectors of the package: trained for masks too, and the public weights."""

_AGAIN = "reinstall mask_detector_ros, or check the file out again from its repository"


@dataclass(frozen=True)
class ModelEntry:
    """One entry of models.yaml.

    Attributes:
        name: what parameters call it.
        file: file name inside the models folder.
        sha256: of the file, in hexadecimal.
        task: what the network does.
        input: shape, type and meaning of its input.
        labels: names of the classes, in the order of the output; empty for a detector stage.
        source: where the weights come from.
        licence: of the weights.
        accuracy: measured figures with their data and split, by name.
    """

    name: str
    file: str
    sha256: str
    task: str
    input: str
    labels: tuple[str, ...]
    source: str
    licence: str
    accuracy: dict[str, str]


@cache
def models_directory() -> Path:
    """The folder of models.yaml: beside the source tree, or under `share` of an installation.

    Raises:
        ModelError: the installation has no models.
    """
    folder = find_shared("models", "models.yaml")
    if folder is not None:
        return folder
    raise ModelError(f"no models.yaml beside or above {PACKAGE}; {_AGAIN}")


@cache
def read_manifest() -> dict[str, ModelEntry]:
    """The entries of models.yaml, by name."""
    content = yaml.safe_load((models_directory() / "models.yaml").read_text(encoding="utf-8"))
    entries = (
        ModelEntry(**{**entry, "labels": tuple(entry["labels"])}) for entry in content["models"]
    )
    return {entry.name: entry for entry in entries}


def read_model(entry: ModelEntry) -> bytes:
    """The content of a model file of the package.

    Raises:
        ModelError: the file is missing or is not the one that models.yaml describes.
    """
    path = models_directory() / entry.file
    content = _read(path, _AGAIN)
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        raise ModelError(
            f"{path} is damaged or was replaced: its sha256 is {digest}, models.yaml says"
            f" {entry.sha256}; {_AGAIN} (to use a model of your own, give its path as a parameter)"
        )
    return content


def find_detector(detector_model: str) -> dict[str, bytes]:
    """The content of pnet, rnet and onet of a detector.

    Args:
        detector_model: one of `DETECTORS`, or a folder that holds the three files.

    Raises:
        ModelError: there is no such detector, or a file is missing or damaged.
    """
    if detector_model in DETECTORS:
        manifest, suffix = read_manifest(), detector_model.removeprefix("mtcnn")
        return {stage: read_model(manifest[stage + suffix]) for stage in STAGES}
    folder = Path(detector_model).expanduser()
    files = ", ".join(f"{stage}.onnx" for stage in STAGES)
    if not folder.is_dir():
        raise ModelError(
            f"detector_model {detector_model!r} is neither a folder with {files} nor the file of a"
            f" whole cascade, nor one of: {', '.join(DETECTORS)}"
        )
    hint = f"detector_model must hold {files}"
    return {stage: _read(folder / f"{stage}.onnx", hint) for stage in STAGES}


def find_cascade_graph(detector_model: str) -> bytes | None:
    """The content of a whole cascade in one file; None where the parameter names no file.

    Args:
        detector_model: the path of an ONNX file, or what `find_detector` takes.
    """
    path = Path(detector_model).expanduser()
    is_file = detector_model not in DETECTORS and path.is_file()
    return _read(path, "detector_model takes the path of an ONNX file") if is_file else None


def find_classifier(classifier_model: str) -> bytes:
    """The content of a mask classifier.

    Args:
        classifier_model: a name in models.yaml, or the path of an ONNX file.

    Raises:
        ModelError: there is no such model, or its file is missing or damaged.
    """
    entry = read_manifest().get(classifier_model)
    if entry is not None and entry.labels:
        return read_model(entry)
    path = Path(classifier_model).expanduser()
    names = ", ".join(e.name for e in read_manifest().values() if e.labels)
    return _read(path, f"classifier_model takes the path of an ONNX file, or one of: {names}")


def _read(path: Path, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror}); {hint}") from error
