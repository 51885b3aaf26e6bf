"""Runs the networks over a data set and keeps what they said, as flat arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.classifier import Classifier
from mask_detector_ros.errors import ModelError, ParameterError
from mask_detector_ros.evaluation.dataset import LABELS, WORN_INCORRECTLY, LabelledImage
from mask_detector_ros.evaluation.matching import IGNORED, NO_MATCH, match_by_score
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference import EngineOptions, choose_backend, create_session
from mask_detector_ros.models import find_cascade_graph, find_classifier, find_detector
from mask_detector_ros.mtcnn.cascade import Cascade
from mask_detector_ros.mtcnn.settings import DetectionSettings
from mask_detector_ros.sources import read_image

CURVE_FLOOR = 0.05
"""O-Net's threshold while measuring, where the chosen one is not lower. What is found at the
chosen one is the same: suppression only ever lets a better box remove a worse one."""


@dataclass(frozen=True)
class Networks:
    """What is measured.

    Attributes:
        cascade: the detector; the shipped one is a `Cascade`, others can stand in its place.
        settings: of the detector.
        classifiers: by the name that the user gave.
        margin: context around a face for the classifiers; negative for their own.
    """

    cascade: Callable[[NDArray[np.uint8], DetectionSettings], Faces]
    settings: DetectionSettings
    classifiers: dict[str, Classifier]
    margin: float

    @classmethod
    def load(cls, values: Mapping[str, Any], models: Iterable[str]) -> Networks:
        """Load the detector that checked parameters describe, and classifiers by name or path.

        Raises:
            ParameterError: the detector is a whole cascade in one file.
            ModelError: a model is missing, damaged, or labels other than `LABELS`.
            BackendError: the backend cannot serve on this machine.
        """
        if find_cascade_graph(values["detector_model"]) is not None:
            # Scaling every photograph to the one size would measure the scaling.
            raise ParameterError(
                f"{values['detector_model']} is a whole cascade: one image size, one threshold, and"
                " its classifier within; evaluate what it was made from (--detector-model with the"
                " name or folder of the three networks, --model with the classifier), and compare"
                " the two with convert_to_trt.cascade_to_onnx --photos"
            )
        backend, threads = choose_backend(values["backend"]), values["threads"]
        options = EngineOptions.of(values)
        cascade = Cascade.load(find_detector(values["detector_model"]), backend, threads, options)
        classifiers = {}
        for name in models:
            session = create_session(find_classifier(name), name, backend, threads, options)
            classifiers[name] = Classifier(session)
            label_columns(classifiers[name].label_names, name)
        settings = DetectionSettings.of(values)
        return cls(cascade, settings, classifiers, values["margin"])


def label_columns(names: tuple[str, ...], model: str) -> list[int]:
    """Where in `LABELS` each label of a model belongs.

    Raises:
        ModelError: it knows another label, or not both mask and no mask.
    """
    if not set(LABELS[:WORN_INCORRECTLY]) <= set(names) <= set(LABELS):
        raise ModelError(
            f"{model} labels faces {', '.join(names)}; evaluate needs {LABELS[0]} and {LABELS[1]},"
            f" and may have {LABELS[2]}: write them into the model's metadata"
        )
    return [LABELS.index(name) for name in names]


@dataclass(frozen=True, eq=False)
class Observations:
    """What the networks said about T known faces and D detections in I images.

    Attributes:
        paths: the I images.
        threshold: the chosen score of a detection; there are also lower ones, for the curve.
        truth_boxes, truth_images, truth_labels: (T, 4), (T,) and (T,), the known faces.
        for_detection: (T,) whether the face counts for detection, too.
        boxes, scores, images: (D, 4), (D,) and (D,), the detections.
        matches: (D,) the known face that each found, or `NO_MATCH`.
        overlaps: (D,) intersection over union with it.
        crop_probabilities: by model, (T, 3), on the known boxes.
        probabilities: by model, (D, 3), on the detections.
    """

    paths: tuple[Path, ...]
    threshold: float
    truth_boxes: NDArray[np.float32]
    truth_images: NDArray[np.int64]
    truth_labels: NDArray[np.int64]
    for_detection: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    images: NDArray[np.int64]
    matches: NDArray[np.int64]
    overlaps: NDArray[np.float32]
    crop_probabilities: dict[str, NDArray[np.float32]]
    probabilities: dict[str, NDArray[np.float32]]

    @property
    def truth_sides(self) -> NDArray[np.float32]:
        """(T,) longer sides of the known faces in pixels."""
        return longer_sides(self.truth_boxes)

    @property
    def sides(self) -> NDArray[np.float32]:
        """(D,) longer sides of the detections in pixels."""
        return longer_sides(self.boxes)

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """(D,) which detections reach the chosen threshold."""
        # As the cascade compares: in the precision of its scores.
        reached: NDArray[np.bool_] = self.scores >= np.float32(self.threshold)
        return reached

    @property
    def found_by(self) -> NDArray[np.int64]:
        """(T,) the accepted detection that found each known face, or `NO_MATCH`."""
        finders = np.full(len(self.truth_boxes), NO_MATCH, np.int64)
        rows = np.flatnonzero(self.accepted & (self.matches >= 0))
        finders[self.matches[rows]] = rows
        return finders


def longer_sides(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) longer side of each of (N, 4) boxes."""
    sides: NDArray[np.float32] = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    return sides


def observe(images: Iterable[LabelledImage], networks: Networks) -> Observations:
    """Run the detector on each photograph, and the classifiers on known and found faces.

    A photograph that is itself a crop is not searched for faces, and has no context to show:
    the classifiers see it without margin.

    Raises:
        SourceError: an image cannot be read.
    """
    chosen = networks.settings.detection_thresholds
    floor = (*chosen[:2], min(chosen[2], CURVE_FLOOR))
    settings = replace(networks.settings, detection_thresholds=floor)
    names = networks.classifiers
    paths, known = [], 0
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _FIELDS}
    crop_parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    found_parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for index, labelled in enumerate(images):
        image = read_image(labelled.path)
        paths.append(labelled.path)
        truth = _as_faces(labelled.boxes)
        found, matches, overlaps = Faces.empty(), np.empty(0, np.int64), np.empty(0, np.float32)
        if not labelled.is_whole_image:
            found = networks.cascade(image, settings)
            matches, overlaps = match_by_score(
                found.boxes, found.scores, labelled.boxes, labelled.ignored
            )
            counted = matches != IGNORED
            found, matches, overlaps = found[counted], matches[counted], overlaps[counted]
        crop_margin = 0.0 if labelled.is_whole_image else networks.margin
        for name, classifier in names.items():
            columns = label_columns(classifier.label_names, name)
            crop_parts[name].append(_classify(classifier, image, truth, crop_margin, columns))
            found_parts[name].append(_classify(classifier, image, found, networks.margin, columns))
        values: tuple[NDArray[Any], ...] = (
            truth.boxes,
            np.full(len(truth), index),
            labelled.label_ids,
            np.full(len(truth), not labelled.is_whole_image),
            found.boxes,
            found.scores,
            np.full(len(found), index),
            np.where(matches >= 0, matches + known, NO_MATCH),
            overlaps,
        )
        for name, value in zip(_FIELDS, values, strict=True):
            parts[name].append(value)
        known += len(truth)
    return Observations(
        paths=tuple(paths),
        threshold=chosen[2],
        crop_probabilities={name: np.concatenate(rows) for name, rows in crop_parts.items()},
        probabilities={name: np.concatenate(rows) for name, rows in found_parts.items()},
        **{name: np.concatenate(rows) for name, rows in parts.items()},
    )


_FIELDS = (
    "truth_boxes",
    "truth_images",
    "truth_labels",
    "for_detection",
    "boxes",
    "scores",
    "images",
    "matches",
    "overlaps",
)


def _as_faces(boxes: NDArray[np.float32]) -> Faces:
    n = len(boxes)
    return Faces(boxes, np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32))


def _classify(
    classifier: Classifier,
    image: NDArray[np.uint8],
    faces: Faces,
    margin: float,
    columns: list[int],
) -> NDArray[np.float32]:
    """(N, 3) probabilities in the order of `LABELS`; 0 for a label that the model lacks."""
    probabilities = np.zeros((len(faces), len(LABELS)), np.float32)
    probabilities[:, columns] = classifier(image, faces, margin).probabilities
    return probabilities
