# SPDX-License-Identifier: Apache-2.0
"""Regions of shared memory through which clients send images to an inference server."""

from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


def regions() -> set[str]:
    """The names of the regions of all clients; the server's own have another prefix."""
    names = {path.name for path in Path("/dev/shm").glob("mask_detector_*")}
    return {name for name in names if not name.startswith("mask_detector_serve")}


def registered(address: str) -> set[str]:
    """The names of the clients' regions that a server knows."""
    with grpc.insecure_channel(address.removeprefix("grpc://")) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        status = stub.SystemSharedMemoryStatus(service_pb2.SystemSharedMemoryStatusRequest())
    return {name for name in status.regions if name.startswith("mask_detector_")}
