# SPDX-License-Identifier: Apache-2.0
"""Load a detector's networks and combine them."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.classifier import Classifier
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import FloatArray
from mask_detector_ros.imaging.image_pyramid import Image, ImagePyramid
from mask_detector_ros.inference import EngineOptions, ServerOptions, connect, create_session
from mask_detector_ros.inference.gpu_choice import load_on_gpu
from mask_detector_ros.inference.gpus import Gpu
from mask_detector_ros.inference.model_probe import probe_model
from mask_detector_ros.inference.session import Session
from mask_detector_ros.models import classifier_name, find_networks, is_shipped
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.loading import load_cascade
from mask_detector_ros.mtcnn.single_file_cascade import CascadeGraph
from mask_detector_ros.mtcnn.three_stage_cascade import Cascade
from mask_detector_ros.mtcnn.two_stage_cascade import TwoStageCascade

logger = logging.getLogger(__name__)

Find = Callable[[NDArray[np.uint8], DetectionSettings, FloatArray | None], Faces]


@dataclass(frozen=True)
class LoadedNetworks:
    """Loaded networks, combined to detect and label faces.

    Attributes:
        find: takes image, settings, and the boxes to search near (None for the full frame).
        session: the session that labels; its backend is that of all networks.
        reason: why this backend was chosen.
    """

    find: Find
    labeller: Classifier | TwoStageCascade | CascadeGraph
    session: Session
    cascade: Cascade | TwoStageCascade | CascadeGraph
    reason: str = ""


PROBE_SIDE = 64

PROBE = DetectionSettings(
    min_face_size=20,
    pyramid_factor=0.5,
    detection_thresholds=(0.0, 0.0, 0.0),
    max_faces=0,
    max_candidates=10,
)
"""Settings that run every network, since every candidate counts as a face."""


def load_networks(
    values: Mapping[str, Any], backend: str, options: EngineOptions
) -> LoadedNetworks:
    """Load the networks that the parameters select, and run them once.

    Networks that are not part of the package run in an isolated process first.

    Raises:
        BackendError: the backend does not work on this machine.
        ModelError: a model is missing, damaged, not of the expected form, does not finish, or
            does not return probabilities.
    """
    networks = find_networks(values["detector_model"], values["classifier_model"])
    for name, model in networks.items():
        if not is_shipped(model):
            probe_model(model, name)
    loaded = _load_networks(networks, values, backend, options)
    try_out(loaded)
    return loaded


def connect_networks(options: ServerOptions) -> LoadedNetworks:
    """Connect to a server's networks (a whole detector), and run them once.

    Raises:
        ServerError: the server is unavailable, or does not answer in time.
        BackendError: the client's libraries are not installed, or the server rejects this client.
        ModelError: the server has no such model, or it is not the expected one.
    """
    session = connect(options)
    with ExitStack() as on_failure:
        on_failure.callback(session.close)
        graph = CascadeGraph(session)
        loaded = LoadedNetworks(graph, graph, session, graph, f"serving from {session.name}")
        try_out(loaded)
        on_failure.pop_all()
    return loaded


def try_out(networks: LoadedNetworks) -> None:
    """Try loaded networks on noise, with settings that make every candidate a face."""
    size = getattr(networks.cascade, "image_size", None) or (PROBE_SIDE, PROBE_SIDE)
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    networks.find(noise, PROBE, None)


def _load_networks(
    networks: dict[str, bytes], values: Mapping[str, Any], backend: str, options: EngineOptions
) -> LoadedNetworks:
    """Load the networks of `find_networks`."""
    threads, detector = values["threads"], values["detector_model"]
    if list(networks) == [detector]:
        graph = CascadeGraph(
            create_session(networks[detector], detector, backend, threads, options)
        )
        logger.info("%s holds classifier, min_face_size, thresholds and margin", detector)
        return LoadedNetworks(graph, graph, graph.session, graph)
    name = classifier_name(values["classifier_model"])
    labelling = networks.pop(name, None)
    cascade = load_cascade(networks, backend, threads, options)
    if isinstance(cascade, TwoStageCascade) and labelling is None:
        return LoadedNetworks(cascade, cascade, cascade.sessions[-1], cascade)
    assert labelling is not None
    # Its precision is the parameter's; those of the cascade always use fp32.
    session = create_session(labelling, name, backend, threads, options)
    classifier = Classifier(session)

    def find(image: Image, settings: DetectionSettings, near: FloatArray | None) -> Faces:
        pyramid = ImagePyramid(image)
        return classifier(pyramid, cascade(pyramid, settings, near), settings.margin)

    return LoadedNetworks(find, classifier, session, cascade)


def load_networks_on_gpu(
    values: Mapping[str, Any], gpu: Gpu, say: Callable[[str], None], cancelled: Callable[[], bool]
) -> LoadedNetworks:
    """Load the networks that the parameters select with the first backend that works on a GPU."""
    options = replace(EngineOptions.of(values), progress=say, cancelled=cancelled)
    networks, reason = load_on_gpu(gpu, lambda backend: load_networks(values, backend, options))
    return replace(networks, reason=reason)
