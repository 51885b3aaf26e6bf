# SPDX-License-Identifier: Apache-2.0
"""Dispatch images to the networks that process them: a server's, a GPU's, or the CPU's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.background_load import BackgroundLoad
from mask_detector_ros.errors import BackendError, ImageError, ParameterError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import FloatArray
from mask_detector_ros.inference import (
    GPU_BACKENDS,
    SERVER_BACKENDS,
    EngineOptions,
    ServerOptions,
    choose_backend,
)
from mask_detector_ros.inference.gpu_choice import ON_CPU, find_serving_gpu, require_backend
from mask_detector_ros.models import hash_networks
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.networks import (
    LoadedNetworks,
    connect_networks,
    load_networks,
    load_networks_on_gpu,
)
from mask_detector_ros.server_link import ServerLink, ServerWatch

ANY = "any"
"""The `server_sha256` that accepts any weights."""

logger = logging.getLogger(__name__)


class LocalDispatch:
    """Dispatches images to networks on this machine; with `auto` first on the CPU, then on the GPU.

    Attributes:
        networks: the networks that process the next image.
    """

    def __init__(
        self, networks: LoadedNetworks, engines: BackgroundLoad[LoadedNetworks] | None = None
    ) -> None:
        self._engines = engines
        self._on_cpu: LoadedNetworks | None = None
        self._engine_failure = ""
        self._use(networks)

    @classmethod
    def load(cls, values: Mapping[str, Any], cancelled: Callable[[], bool]) -> LocalDispatch:
        """Load the networks on this machine that validated parameters select, and dispatch images
        to them."""
        backend = require_backend(values["backend"], values["device"])
        options = replace(EngineOptions.of(values), cancelled=cancelled)
        networks = load_networks(values, backend, options)
        if values["backend"] != "auto":
            return cls(replace(networks, reason="chosen by the parameter backend"))
        gpu, reason = find_serving_gpu(values["device"])
        if gpu is None:
            reason = f"{ON_CPU}: {reason}"
            logger.info("backend auto: %s", reason)
            return cls(replace(networks, reason=reason))
        reason = f"serving until {gpu.name} is ready"
        logger.info("backend auto: %s %s", backend, reason)
        engines = BackgroundLoad(
            lambda say, stop: load_networks_on_gpu(values, gpu, say, stop), ON_CPU
        )
        return cls(replace(networks, reason=reason), engines)

    def find(
        self, image: NDArray[np.uint8], settings: DetectionSettings, near: FloatArray | None
    ) -> Faces:
        """Find and label the faces of an image on this machine; `auto` may switch networks before
        or during it."""
        if self._engines is not None and (engines := self._engines.take()) is not None:
            self._on_cpu = self.networks
            self._use(engines)
            session = engines.session
            logger.info(
                "now serving from %s on %s: %s", session.backend, session.device, self.reason
            )
        try:
            return self.networks.find(image, settings, near)
        except (BackendError, ImageError) as error:
            if self._on_cpu is None:
                raise
            # `auto` chose the GPU, so `auto` may leave it.
            self._use(self._on_cpu)
            self._on_cpu = None
            self._reason = self._engine_failure = str(error)
            session = self.networks.session
            logger.warning("%s; going back to %s on %s", error, session.backend, session.device)
            return self.networks.find(image, settings, near)

    def _use(self, networks: LoadedNetworks) -> None:
        self.networks, self._reason = networks, networks.reason

    @property
    def reason(self) -> str:
        """Why the networks that process the next image on this machine were chosen."""
        if self._engines is not None and self._engines.failure:
            return f"{ON_CPU}: {self._engines.failure}"
        return self._reason

    @property
    def engine_state(self) -> str:
        """State of loading the GPU networks, see `MaskDetector.engine_state`."""
        if self._engine_failure:
            return f"failed: {self._engine_failure}"
        if self._engines is not None:
            return self._engines.state
        return "ready" if self.networks.session.backend in GPU_BACKENDS else ""

    def wait_for_engines(self, timeout: float | None) -> None:
        """Wait for the GPU networks, see `MaskDetector.wait_for_engines`."""
        if self._engines is not None:
            self._engines.wait(timeout)

    def close(self) -> None:
        """Stop loading networks on this machine's GPU."""
        if self._engines is not None:
            self._engines.cancel()


class Dispatch:
    """Dispatches images to the server first, if there is one, then to this machine if allowed.

    Args:
        local: the networks of this machine; None if only the server may be used.
        server: the server, if any. Its `find` returns None if this machine must process the image.

    Attributes:
        networks: the networks that processed the last image.
    """

    def __init__(
        self, local: LocalDispatch | None, server: ServerLink | ServerWatch | None = None
    ) -> None:
        self._local, self._server = local, server
        first = local or server
        assert first is not None
        assert first.networks is not None
        self.networks: LoadedNetworks = first.networks

    @classmethod
    def load(cls, values: Mapping[str, Any], cancelled: Callable[[], bool]) -> Dispatch:
        """Load the networks on this machine or connect to the server's, as validated parameters
        select.

        Raises:
            ParameterError: the parameters contradict each other.
            ModelError: a model is missing, damaged, or not the expected one.
            BackendError: the backend does not work, or the server does not answer.
        """
        backend, url = values["backend"], values["server_url"]
        if backend in SERVER_BACKENDS and not url:
            raise ParameterError(f"backend {backend} needs server_url, such as grpc://HOST:8001")
        if url and backend not in ("auto", *SERVER_BACKENDS):
            raise ParameterError(
                f"server_url goes with the backends auto and {', '.join(SERVER_BACKENDS)}, got"
                f" backend {backend}"
            )
        if not url:
            return cls(LocalDispatch.load(values, cancelled))
        choose_backend(SERVER_BACKENDS[0])
        options = replace(ServerOptions.of(values), sha256=expected_sha256(values))
        if backend == "auto":
            local = LocalDispatch.load(values, cancelled)
            return cls(local, ServerWatch(lambda: connect_as(local.networks, options)))
        first = connect_networks(options)
        patience = values["server_patience"]
        link = ServerLink(first, lambda: connect_as(first, options), patience, cancelled)
        return cls(None, link)

    @property
    def reason(self) -> str:
        """Why the last image was dispatched to these networks."""
        if self._local is None or self.networks is not self._local.networks:
            return self.networks.reason
        return f"{self.server_state}; {self._local.reason}" if self._server else self._local.reason

    @property
    def server_state(self) -> str:
        """State of the server: `serving`, `connecting`, or `not serving: ...`; empty without a
        server."""
        return self._server.state if self._server is not None else ""

    @property
    def engine_state(self) -> str:
        """State of loading the GPU networks, see `MaskDetector.engine_state`."""
        return self._local.engine_state if self._local is not None else ""

    def find(
        self, image: NDArray[np.uint8], settings: DetectionSettings, near: FloatArray | None
    ) -> Faces:
        """Dispatch an image to the server or this machine; return its labelled faces.

        Raises:
            ServerError: only the server may be used, and it does not answer.
            BackendError, ImageError: no networks can process this image.
        """
        server, local = self._server, self._local
        faces = server.find(image, settings, near) if server is not None else None
        if faces is not None:
            assert server is not None
            self.networks = server.networks or self.networks
            return faces
        assert local is not None
        faces = local.find(image, settings, near)
        self.networks = local.networks
        return faces

    def offer_jpeg(self, image: NDArray[np.uint8], data: bytes) -> None:
        """Offer the server a JPEG, see `MaskDetector.offer_jpeg`."""
        if self._server is not None and (networks := self._server.networks) is not None:
            networks.session.offer_jpeg(image, data)

    def wait_for_engines(self, timeout: float | None) -> None:
        """Wait for the GPU networks, see `MaskDetector.wait_for_engines`."""
        if self._local is not None:
            self._local.wait_for_engines(timeout)

    def wait_for_server(self, timeout: float | None) -> bool:
        """Wait for the server, see `MaskDetector.wait_for_server`."""
        return self._server is not None and self._server.wait(timeout)

    def close(self) -> None:
        """Stop loading local networks, and close the connection to the server."""
        for part in (self._local, self._server):
            if part is not None:
                part.close()


def connect_as(known: LoadedNetworks, options: ServerOptions) -> LoadedNetworks:
    """Connect to a server that must give the same labels as known networks on this machine."""
    labeller = known.labeller
    return connect_networks(
        replace(options, labels=labeller.label_names, roles=labeller.label_roles)
    )


def expected_sha256(values: Mapping[str, Any]) -> str:
    """Hash of the weights that a server must have to be dispatched to; empty for any."""
    if values["server_sha256"]:
        return "" if values["server_sha256"] == ANY else str(values["server_sha256"])
    return hash_networks(values["detector_model"], values["classifier_model"])
