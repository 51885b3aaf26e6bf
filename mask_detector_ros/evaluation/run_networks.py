# SPDX-License-Identifier: Apache-2.0
"""Run the networks over a data set and keep their predictions as flat arrays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.classifier import Classifier
from mask_detector_ros.dispatch import Dispatch
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.evaluation.dataset import LabelledImage
from mask_detector_ros.evaluation.face_groups import LandmarkNetwork, typology_angles
from mask_detector_ros.evaluation.label_columns import label_columns, to_data_set_labels
from mask_detector_ros.evaluation.matching import IGNORED, MIN_OVERLAP, NO_MATCH, match_by_score
from mask_detector_ros.evaluation.perturb import GEOMETRIC, perturb
from mask_detector_ros.evaluation.predictions import Predictions
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference import EngineOptions, choose_backend, create_session
from mask_detector_ros.models import (
    classifier_name,
    find_cascade_graph,
    find_classifier,
    find_detector,
    takes_classifier,
)
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.loading import load_cascade
from mask_detector_ros.mtcnn.two_stage_cascade import TwoStageCascade
from mask_detector_ros.sources import read_image

CURVE_FLOOR = 0.05
"""O-Net's threshold during measurement, unless the chosen one is lower. Detections above the
chosen threshold do not change, since only a better box can suppress another."""


class Labeller(Protocol):
    """Labels faces: a `Classifier`, or the detector itself."""

    label_names: tuple[str, ...]
    label_roles: tuple[str, ...]

    def __call__(self, image: NDArray[np.uint8], faces: Faces, margin: float) -> Faces: ...


class DetectorLabels:
    """The labels that a detector gave; `label` labels known boxes."""

    def __init__(
        self,
        detector: Labeller | TwoStageCascade,
        label: Callable[[NDArray[np.uint8], Faces, float], Faces],
    ) -> None:
        self.label_names, self.label_roles = detector.label_names, detector.label_roles
        self._label = label

    def __call__(self, image: NDArray[np.uint8], faces: Faces, margin: float) -> Faces:
        is_labelled = faces.label_names == self.label_names
        return faces if is_labelled else self._label(image, faces, margin)


@dataclass(frozen=True)
class Networks:
    """The networks to run over a data set.

    Attributes:
        cascade: the detector: a shipped cascade, or another detector with its interface.
        margin: context around a face for the classifiers; negative for each model's default.
    """

    cascade: Callable[[NDArray[np.uint8], DetectionSettings], Faces]
    settings: DetectionSettings
    classifiers: Mapping[str, Labeller]
    margin: float

    @classmethod
    def load(cls, values: Mapping[str, Any], models: Iterable[str]) -> Networks:
        """Load the networks to run over a data set: the detector given by validated parameters, and
        classifiers by name or path.

        Where the parameters choose a server, it finds and labels the faces. Known boxes are
        labelled on this machine, by the same weights.

        Raises:
            ParameterError: the detector is a single-file cascade, or the server may have other
                weights.
            ModelError: a model is missing, damaged, or lacks a label for with or without mask.
            BackendError: the backend cannot run on this machine.
        """
        detector = values["detector_model"]
        if find_cascade_graph(detector) is not None:
            # Scaling all photographs to one size would measure the effect of scaling.
            raise ParameterError(
                f"{detector} is a single-file cascade: one image size, one threshold, and its "
                "classifier within; evaluate what it was made from (--detector-model with the "
                "name or folder of its networks, --model with the classifier), and compare the "
                "two with convert_to_trt.cascade_to_onnx --photos"
            )
        if values["server_url"]:
            return cls._of_server(values, models)
        backend, threads = choose_backend(values["backend"]), values["threads"]
        options = EngineOptions.of(values)
        stages = find_detector(detector)
        cascade = load_cascade(stages, backend, threads, options)
        classifiers: dict[str, Labeller] = {}
        for model in models:
            if isinstance(cascade, TwoStageCascade) and not takes_classifier(stages, model):
                name = detector
                classifiers[name] = DetectorLabels(cascade, cascade.label)
            else:
                name = classifier_name(model)
                session = create_session(find_classifier(name), name, backend, threads, options)
                classifiers[name] = Classifier(session)
            label_columns(classifiers[name].label_names, name, classifiers[name].label_roles)
        return cls(cascade, DetectionSettings.of(values), classifiers, values["margin"])

    @classmethod
    def _of_server(cls, values: Mapping[str, Any], models: Iterable[str]) -> Networks:
        (model, *others) = models
        local = cls.load({**values, "backend": "auto", "server_url": ""}, [model])
        ((name, labeller),) = local.classifiers.items()
        if others or values["server_sha256"] or values["backend"] == "auto":
            raise ParameterError(
                "evaluate compares a server with its own weights on this machine: leave out"
                " --server-sha256, --backend auto, and all but one --model"
            )
        server = Dispatch.load({**values, "classifier_model": model}, lambda: False)

        def find(image: NDArray[np.uint8], settings: DetectionSettings) -> Faces:
            return server.find(image, settings, None)

        return cls(find, local.settings, {name: DetectorLabels(labeller, labeller)}, local.margin)


def predict(
    images: Iterable[LabelledImage],
    networks: Networks,
    min_overlap: float = MIN_OVERLAP,
    perturbation: str = "",
) -> Predictions:
    """Run the detector on each photograph of a data set, and the classifiers on known and detected
    faces.

    Photographs that are cut-out faces are not searched and have no context: the classifiers see
    them without margin.

    Args:
        min_overlap: minimum intersection over union of a match.
        perturbation: one of `perturb.PERTURBATIONS`, applied to all photographs; empty for none.

    Raises:
        ParameterError: the perturbation applies to no photograph.
        SourceError: an image cannot be read.
    """
    chosen = networks.settings.detection_thresholds
    floor = (*chosen[:2], min(chosen[2], CURVE_FLOOR))
    settings = replace(networks.settings, detection_thresholds=floor)
    names = networks.classifiers
    place_landmarks = LandmarkNetwork()
    paths: list[Path] = []
    sources: list[str] = []
    known = 0
    parts: defaultdict[str, list[NDArray[Any]]] = defaultdict(list)
    crop_parts: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)
    found_parts: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for labelled in images:
        if labelled.is_whole_image and perturbation in GEOMETRIC:
            continue
        image, index = read_image(labelled.path), len(paths)
        if perturbation:
            image, labelled = perturb(perturbation, image, labelled)
        paths.append(labelled.path)
        sources.append(labelled.source)
        truth = Faces.known(labelled.boxes)
        found, matches, overlaps = Faces.empty(), np.empty(0, np.int64), np.empty(0, np.float32)
        if not labelled.is_whole_image:
            found = networks.cascade(image, settings)
            matches, overlaps = match_by_score(
                found.boxes, found.scores, labelled.boxes, labelled.ignored, min_overlap
            )
            counted = matches != IGNORED
            found, matches, overlaps = found[counted], matches[counted], overlaps[counted]
        crop_margin = 0.0 if labelled.is_whole_image else networks.margin
        for name, classifier in names.items():
            columns = label_columns(classifier.label_names, name, classifier.label_roles)
            crop_parts[name].append(_classify(classifier, image, truth, crop_margin, columns))
            found_parts[name].append(_classify(classifier, image, found, networks.margin, columns))
        landmarks = place_landmarks(image, truth.boxes)
        values = {
            "truth_boxes": truth.boxes,
            "truth_images": np.full(len(truth), index),
            "truth_labels": labelled.label_ids,
            "for_detection": np.full(len(truth), not labelled.is_whole_image),
            "boxes": found.boxes,
            "scores": found.scores,
            "images": np.full(len(found), index),
            "matches": np.where(matches >= 0, matches + known, NO_MATCH),
            "overlaps": overlaps,
            "sizes": np.array([image.shape[1::-1]], np.float32),
            "negatives": np.array([labelled.is_negative]),
            "truth_landmarks": landmarks,
            "truth_tones": typology_angles(image, landmarks),
        }
        for name, value in values.items():
            parts[name].append(value)
        known += len(truth)
    if not paths:
        raise ParameterError(
            f"{perturbation} leaves no photograph: all are cut-out faces; choose another --perturb"
        )
    return Predictions(
        paths=tuple(paths),
        threshold=chosen[2],
        crop_probabilities={name: np.concatenate(rows) for name, rows in crop_parts.items()},
        probabilities={name: np.concatenate(rows) for name, rows in found_parts.items()},
        min_overlap=min_overlap,
        sources=tuple(sources),
        **{name: np.concatenate(rows) for name, rows in parts.items()},
    )


def _classify(
    classifier: Labeller, image: NDArray[np.uint8], faces: Faces, margin: float, columns: list[int]
) -> NDArray[np.float32]:
    """(N, 3) probabilities in the order of `LABELS`."""
    return to_data_set_labels(classifier(image, faces, margin).probabilities, columns)
