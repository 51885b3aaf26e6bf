# SPDX-License-Identifier: Apache-2.0
"""The package's model files: their location, description and integrity."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from mask_detector_ros.errors import ModelError
from mask_detector_ros.foreign_files import (
    find_foreign,
    find_other_format,
    is_other_framework,
)
from mask_detector_ros.shared_files import PACKAGE, find_shared

TWO_STAGES = ("proposal", "decision")
THREE_STAGES = ("pnet", "rnet", "onet")
DETECTORS = {
    "mtcnn_masked": {stage: f"{stage}_masked" for stage in THREE_STAGES},
    "mtcnn": {stage: stage for stage in THREE_STAGES},
    "mtcnn_two_stage": {stage: stage for stage in TWO_STAGES},
}
"""The package's face detectors, with the models.yaml entry of each stage: the three-stage cascade
fine-tuned for masks; its public weights; the two-stage cascade."""

OWN_LABELS = "auto"
"""The `classifier_model` that uses the detector's labels, if it has any."""

SHIPPED_CLASSIFIER = "mask_classifier"
"""The default classifier for detectors without labels."""

MAX_MODEL_BYTES = 1 << 29
"""A thousand times the size of the shipped models; reading more could exhaust memory."""

_AGAIN = "reinstall mask_detector_ros, or check the file out again from its repository"


@dataclass(frozen=True)
class ModelEntry:
    """One entry of models.yaml.

    Attributes:
        name: its name in parameters.
        file: file name inside the models folder.
        task: what the network does.
        input: shape, type and meaning of its input.
        labels: names of the classes, in the order of the output; empty for a detector stage.
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
    """The folder of the models and models.yaml: beside the source tree, or under `share` of an
    installation.

    Raises:
        ModelError: the installation has no models.
    """
    folder = find_shared("models", "models.yaml")
    if folder is not None:
        return folder
    raise ModelError(f"no models.yaml beside or above {PACKAGE}; {_AGAIN}")


@cache
def read_manifest() -> dict[str, ModelEntry]:
    """The model entries of models.yaml, by name."""
    return parse_manifest((models_directory() / "models.yaml").read_bytes())


def parse_manifest(content: bytes) -> dict[str, ModelEntry]:
    """The model entries of a models.yaml given as text, by name.

    Raises:
        ModelError: it is not a valid models.yaml.
    """
    try:
        listed = yaml.safe_load(content)["models"]
        entries = [ModelEntry(**{**e, "labels": tuple(map(str, e["labels"]))}) for e in listed]
        return {str(entry.name): entry for entry in entries}
    except (yaml.YAMLError, TypeError, LookupError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"models.yaml is damaged ({reason[:200]}); {_AGAIN}") from error


def read_model(entry: ModelEntry) -> bytes:
    """Read one of the package's model files and check its hash.

    Raises:
        ModelError: the file is missing or is not the one that models.yaml describes.
    """
    path = models_directory() / entry.file
    content = _read(path, _AGAIN)
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        raise ModelError(
            f"{path} is damaged or was replaced: its sha256 is {digest}, models.yaml says"
            f" {entry.sha256}; {_AGAIN} (to use your own model, give its path as a parameter)"
        )
    return content


def find_detector(detector_model: str) -> dict[str, bytes]:
    """Read a detector's model files by stage: `TWO_STAGES` or `THREE_STAGES`.

    Args:
        detector_model: one of `DETECTORS`, or a folder with one file per stage.

    Raises:
        ModelError: there is no such detector, or a file is missing or damaged.
    """
    if detector_model in DETECTORS:
        manifest = read_manifest()
        return {stage: read_model(manifest[e]) for stage, e in DETECTORS[detector_model].items()}
    folder = Path(detector_model).expanduser()
    two, three = (
        ", ".join(f"{stage}.onnx" for stage in stages) for stages in (TWO_STAGES, THREE_STAGES)
    )
    if not folder.is_dir():
        raise ModelError(
            f"detector_model {detector_model!r} is neither a folder with {two} or with {three}, "
            f"nor the file of a single-file cascade, nor one of: {', '.join(DETECTORS)}"
        )
    has_two = any((folder / f"{stage}.onnx").is_file() for stage in TWO_STAGES)
    stages, files = (TWO_STAGES, two) if has_two else (THREE_STAGES, three)
    return {
        stage: _read(folder / f"{stage}.onnx", f"detector_model must hold {files}")
        for stage in stages
    }


def takes_classifier(networks: Mapping[str, bytes], classifier_model: str) -> bool:
    """Whether a detector model needs a separate classifier to label the faces."""
    return classifier_model != OWN_LABELS or "decision" not in networks


def find_networks(detector_model: str, classifier_model: str) -> dict[str, bytes]:
    """Read all model files that these parameters select, by name.

    Raises:
        ModelError: one is missing or damaged.
    """
    whole = find_cascade_graph(detector_model)
    if whole is not None:
        return {detector_model: whole}
    networks = find_detector(detector_model)
    if takes_classifier(networks, classifier_model):
        name, content = classifier_name(classifier_model), find_classifier(classifier_model)
        if name in networks:
            raise ModelError(f"{name} is the name of a stage; give classifier_model as ./{name}")
        networks[name] = content
    return networks


def hash_networks(detector_model: str, classifier_model: str) -> str:
    """The sha256 that identifies the model files that these parameters select, in hexadecimal.

    It is the hash of the files' hashes, a line each: the stages in their order, then the
    classifier where one is needed.

    Raises:
        ModelError: a file is missing or damaged.
    """
    networks = find_networks(detector_model, classifier_model).values()
    lines = "".join(f"{hashlib.sha256(content).hexdigest()}\n" for content in networks)
    return hashlib.sha256(lines.encode()).hexdigest()


def classifier_name(classifier_model: str) -> str:
    """The name of a classifier model; `OWN_LABELS` stands for the shipped one if one is needed."""
    return SHIPPED_CLASSIFIER if classifier_model == OWN_LABELS else classifier_model


def find_cascade_graph(detector_model: str) -> bytes | None:
    """Read the model file of a single-file cascade; None if the parameter does not name a file.

    Args:
        detector_model: the path of an ONNX file, or a value for `find_detector`.
    """
    path = Path(detector_model).expanduser()
    is_file = detector_model not in DETECTORS and path.is_file()
    return _read(path, "detector_model takes the path of an ONNX file") if is_file else None


def find_classifier(classifier_model: str) -> bytes:
    """Read the model file of a mask classifier, by its name or path.

    Args:
        classifier_model: a name in models.yaml, or the path of an ONNX file; `OWN_LABELS` for
            the shipped one.

    Raises:
        ModelError: there is no such model, or its file is missing or damaged.
    """
    name = classifier_name(classifier_model)
    manifest = read_manifest().values()
    known = {
        entry.name: entry for entry in manifest if entry.labels and entry.name not in TWO_STAGES
    }
    if name in known:
        return read_model(known[name])
    path = Path(name).expanduser()
    hint = f"classifier_model takes the path of an ONNX file, or one of: {', '.join(known)}"
    content = _read(path, hint)
    if problem := _find_mistake(path, content[:4096]):
        raise ModelError(f"{path} is not an ONNX file: {problem}")
    return content


def _find_mistake(path: Path, head: bytes) -> str:
    """Why a file cannot be an ONNX network, and the remedy; empty if it may be one."""
    if path.suffix.lower() in (".engine", ".plan", ".trt"):
        return "an engine fits one GPU; give the ONNX file that it was built from"
    if is_other_framework(head) or path.suffix.lower() == ".pb":
        return f"convert it first with python -m convert_to_trt.keras_to_onnx {path}"
    return find_foreign(head) or find_other_format(path.suffix)


def is_shipped(model: bytes) -> bool:
    """Whether a model file's content equals that of a file of the package."""
    digest = hashlib.sha256(model).hexdigest()
    return any(entry.sha256 == digest for entry in read_manifest().values())


def _read(path: Path, hint: str) -> bytes:
    try:
        # Without O_NONBLOCK, opening a pipe would block.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{path} is not a regular file; {hint}")
            if status.st_size > MAX_MODEL_BYTES:
                raise ModelError(
                    f"{path} has {status.st_size:,} bytes, more than {MAX_MODEL_BYTES:,}; {hint}"
                )
            return file.read(MAX_MODEL_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ModelError(
            f"cannot read {path} ({getattr(error, 'strerror', error)}); {hint}"
        ) from error
