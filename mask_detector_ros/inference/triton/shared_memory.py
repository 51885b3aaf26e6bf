# SPDX-License-Identifier: Apache-2.0
"""Images for a server on the same machine, in shared memory instead of messages."""

import logging
import time
import uuid
import weakref
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from mask_detector_ros.errors import BackendError, ServerError
from mask_detector_ros.inference.triton.connection import Connection

logger = logging.getLogger(__name__)

PREFIX = "mask_detector_"
"""Beginning of the names of regions."""

POLL_PERIOD = 0.005
"""Seconds between two attempts to unregister a region that the server still uses."""


class SharedImage:
    """A region of system shared memory from which the inference server reads an image.

    It grows with the images. Python's resource tracker removes it if this process is killed.

    Attributes:
        name: its name at the server; empty while there is none.
        is_usable: whether the server accepts shared memory, as far as known.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._memory: SharedMemory | None = None
        self._has_leftovers = False
        self.name = ""
        self.is_usable = True

    def put(self, image: NDArray[np.uint8], deadline: float) -> bool:
        """Write an image of any memory layout to shared memory; returns False if the server takes
        none this way.

        Raises:
            ServerError: the server does not answer.
        """
        if self._memory is None or self._memory.size < image.nbytes:
            self._drop()
            if self.is_usable:
                self._create(image.nbytes, deadline)
        if self._memory is None:
            return False
        np.copyto(np.ndarray(image.shape, np.uint8, self._memory.buf), image)
        return True

    def _create(self, size: int, deadline: float) -> None:
        name = f"{PREFIX}{uuid.uuid4().hex}"
        try:
            self._memory = SharedMemory(name, create=True, size=size)
        except OSError as error:
            self._give_up(error.strerror)
            return
        self._free = weakref.finalize(self, _free, self._memory)
        request = service_pb2.SystemSharedMemoryRegisterRequest(
            name=name, key=f"/{name}", byte_size=self._memory.size
        )
        try:
            self._connection.call("SystemSharedMemoryRegister", request, deadline)
        except BackendError as error:
            self._drop()
            if self._connection.lost:
                raise
            self._give_up(str(error))
            return
        self.name = name
        self._has_leftovers = True

    def remove_leftovers(self, deadline: float) -> None:
        """Unregister at the server the regions whose memory is gone: former ones of this client,
        and those of clients that were killed.

        Triton rejects this while a request uses the region: past the request's deadline, and for a
        moment after its answer. Then the next call tries again. Call it after an answer: a server
        that does not answer would delay the frame.
        """
        if not self._has_leftovers:
            return
        try:
            status = self._connection.call(
                "SystemSharedMemoryStatus", service_pb2.SystemSharedMemoryStatusRequest(), deadline
            )
        except BackendError as error:
            self._has_leftovers = isinstance(error, ServerError)
            logger.debug("leftovers in shared memory are not known: %s", error)
            return
        self._has_leftovers = False
        for name, region in status.regions.items():
            if name.startswith(PREFIX) and not Path(f"/dev/shm{region.key}").exists():
                request = service_pb2.SystemSharedMemoryUnregisterRequest(name=name)
                try:
                    self._connection.call("SystemSharedMemoryUnregister", request, deadline)
                except BackendError as error:
                    self._has_leftovers = True
                    logger.debug("%s was not unregistered: %s", name, error)

    def _give_up(self, reason: str | None) -> None:
        self.is_usable = False
        logger.info(
            "%s offers no shared memory; images travel in messages (%s)",
            self._connection.address,
            reason,
        )

    def _drop(self) -> None:
        if self._memory is not None:
            self._free()
            self._has_leftovers = True
        self._memory, self.name = None, ""

    def close(self, deadline: float) -> None:
        """Free the shared memory, also at the server, which has `deadline` seconds to answer and
        to end what uses it."""
        if self._memory is None:
            return
        self._drop()
        end = time.monotonic() + deadline
        while self._has_leftovers and not self._connection.lost and time.monotonic() < end:
            self.remove_leftovers(deadline)
            if self._has_leftovers:
                time.sleep(POLL_PERIOD)


def _free(memory: SharedMemory) -> None:
    memory.close()
    memory.unlink()
