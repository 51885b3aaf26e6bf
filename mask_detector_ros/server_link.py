# SPDX-License-Identifier: Apache-2.0
"""Link to the networks on an inference server, with reconnection after restarts and network
failures."""

import logging
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import MaskDetectorError, ServerError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import FloatArray
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.networks import LoadedNetworks, try_out

RETRY_PERIOD = 0.5
"""Seconds between two attempts to reach a server."""

FIRST_PAUSE = 0.02
"""Seconds before a patient client sends a frame again; doubled each time, up to `RETRY_PERIOD`."""

FAILURES_IN_A_ROW = 2
"""Consecutive failed frames after which `auto` leaves the server; a broken connection counts at
once."""

STEADY_PROBES, MAX_STEADY_PROBES = 3, 60
"""Probes in a row that must succeed before `auto` returns to a server that failed. Their number
doubles each time the server fails soon after a return."""

CLOSE_TIMEOUT = 0.5
"""Seconds."""

SOON = 10.0
"""Seconds."""

logger = logging.getLogger(__name__)


class ServerLink:
    """Link to the networks of an explicitly chosen server; nothing else is used.

    Args:
        patience: seconds for which a frame is resent while the server is unavailable or overloaded.
        cancelled: polled meanwhile; the frame is no longer resent when it returns True.

    Attributes:
        networks: the current networks.
        state: state of the server as text.
    """

    def __init__(
        self,
        networks: LoadedNetworks,
        load: Callable[[], LoadedNetworks],
        patience: float,
        cancelled: Callable[[], bool],
    ) -> None:
        self.networks, self._load, self._patience = networks, load, patience
        self._cancelled = cancelled
        self.state = "serving"
        self._failure: MaskDetectorError | None = None
        self._next_attempt = 0.0

    def find(
        self, image: NDArray[np.uint8], settings: DetectionSettings, near: FloatArray | None
    ) -> Faces:
        """Find and label the faces of an image on the linked server.

        Raises:
            ServerError: the server does not answer in time, or is overloaded.
            MaskDetectorError: it rejects the image, or is not the expected one any more.
        """
        limit = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                faces = self._connected().find(image, settings, near)
            except MaskDetectorError as error:
                self.state = f"not serving: {error}"
                is_final = not isinstance(error, ServerError) or self._cancelled()
                if is_final or time.monotonic() + pause > limit:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, RETRY_PERIOD)
            else:
                self.state = "serving"
                return faces

    def _connected(self) -> LoadedNetworks:
        if not self.networks.session.lost:
            return self.networks
        if self._failure is not None and time.monotonic() < self._next_attempt:
            raise type(self._failure)(str(self._failure))
        try:
            fresh = self._load()
        except MaskDetectorError as error:
            self._failure = error
            self._next_attempt = time.monotonic() + RETRY_PERIOD
            raise
        self._failure = None
        self.networks.session.close()
        self.networks = fresh
        logger.info("connected again: %s", fresh.reason)
        return fresh

    def wait(self, timeout: float | None) -> bool:
        """Wait until the explicitly chosen server has connected or failed; returns whether it
        serves."""
        return not self.networks.session.lost

    def close(self) -> None:
        """Close the link to the server."""
        self.networks.session.close()


class ServerWatch:
    """Watches a server: provides its networks while they work, and reconnects otherwise.

    A thread connects in the background, while another one may call `find`.

    Attributes:
        networks: the networks while they may be used; None otherwise.
        state: state of the server as text.
    """

    def __init__(self, load: Callable[[], LoadedNetworks]) -> None:
        self._load = load
        self.networks: LoadedNetworks | None = None
        self.state = "connecting"
        self._failed_in_a_row = 0
        self._offered_at = 0.0
        self._probes = 1
        self._wanted, self._stopped = threading.Event(), threading.Event()
        self._wanted.set()
        self._thread = threading.Thread(target=self._run, name="server-watch", daemon=True)
        self._thread.start()

    def find(
        self, image: NDArray[np.uint8], settings: DetectionSettings, near: FloatArray | None
    ) -> Faces | None:
        """Find and label the faces of an image on the watched server; None if the server cannot,
        for any reason."""
        if (networks := self.networks) is None:
            return None
        try:
            faces = networks.find(image, settings, near)
        except MaskDetectorError as error:
            self._fail(networks, error)
            return None
        self._failed_in_a_row = 0
        return faces

    def _fail(self, networks: LoadedNetworks, error: MaskDetectorError) -> None:
        self._failed_in_a_row += 1
        if not networks.session.lost and self._failed_in_a_row < FAILURES_IN_A_ROW:
            return
        soon = time.monotonic() - self._offered_at < SOON
        doubled = min(2 * self._probes, MAX_STEADY_PROBES) if soon else 0
        self._probes = max(doubled, STEADY_PROBES)
        self.networks = None
        self._say(str(error))
        self._wanted.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the watched server's networks are ready; returns whether they are."""
        limit = None if timeout is None else time.monotonic() + timeout
        while self.networks is None and not self._stopped.is_set():
            if limit is not None and time.monotonic() > limit:
                return False
            self._stopped.wait(RETRY_PERIOD / 10)
        return self.networks is not None

    def close(self) -> None:
        """Stop watching the server, and close the connection."""
        self._stopped.set()
        self._wanted.set()
        # A connection attempt takes longer, and closes its connection by itself.
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        networks: LoadedNetworks | None = None
        while self._wanted.wait() and not self._stopped.is_set():
            if networks is not None:
                networks.session.close()
            networks = self._find_steady()
            if networks is not None:
                self._wanted.clear()
                if self._stopped.is_set():
                    break
                self._failed_in_a_row, self._offered_at = 0, time.monotonic()
                self.state = "serving"
                logger.info("now %s", networks.reason)
                self.networks = networks
        self.networks = None
        if networks is not None:
            networks.session.close()

    def _find_steady(self) -> LoadedNetworks | None:
        """Networks that passed all probes; None after a failure or a pause."""
        networks = None
        try:
            networks = self._load()
            for _ in range(self._probes - 1):
                if self._stopped.wait(RETRY_PERIOD):
                    break
                try_out(networks)
        except MaskDetectorError as error:
            self._say(str(error))
            if networks is not None:
                networks.session.close()
            self._stopped.wait(RETRY_PERIOD)
            return None
        return networks

    def _say(self, reason: str) -> None:
        """Keep the reason, and log it when it changes."""
        state = f"not serving: {reason}"
        if state != self.state:
            logger.warning("this machine serves, without the server: %s", reason)
        self.state = state
