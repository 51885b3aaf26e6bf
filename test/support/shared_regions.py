# SPDX-License-Identifier: Apache-2.0
"""Regions of shared memory through which clients send images to an inference server."""

from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from waiting import wait_until


def registered(address: str) -> set[str]:
    """The names of the clients' regions that a server knows."""
    with grpc.insecure_channel(address.removeprefix("grpc://")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        status = stub.SystemSharedMemoryStatus(service_pb2.SystemSharedMemoryStatusRequest())
    return {name for name in status.regions if name.startswith("mask_detector_")}


def in_use(address: str) -> set[str]:
    """Those whose memory exists: one for each client of the server.

    The server may know a client's former region until its next frame.
    """
    return set(filter(exists, registered(address)))


def exists(name: str) -> bool:
    """Whether the memory of a region exists."""
    return Path("/dev/shm", name).exists()


def unregister(client: Any, name: str) -> None:
    """Unregister a region as soon as the server has released it, which follows its answer."""
    from tritonclient.utils import InferenceServerException

    def is_unregistered() -> bool:
        try:
            client.unregister_system_shared_memory(name)
        except InferenceServerException as error:
            if "currently in use" not in str(error):
                raise
            return False
        return True

    wait_until(is_unregistered)
