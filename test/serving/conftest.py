# SPDX-License-Identifier: Apache-2.0
"""One real server, shared by all tests that do not change it."""

import cv2
import pytest
from protocol_client import Client

from benchmark.inference_server import InferenceServer, missing_server


@pytest.fixture(scope="session")
def start_server():
    """A function that starts a server, where one can run."""
    pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
    if problem := missing_server():
        pytest.skip(problem)
    return InferenceServer


@pytest.fixture(scope="session")
def server(start_server):
    """A server with one instance; two requests may wait, long enough for a busy machine."""
    options = ("--instances", "1", "--queue-size", "2", "--queue-limit", "20")
    with start_server(*options) as running:
        yield running


@pytest.fixture(scope="session")
def client(server):
    return Client(server.address)


@pytest.fixture(scope="session")
def jpeg(astronaut):
    return cv2.imencode(".jpg", astronaut)[1].tobytes()
