# SPDX-License-Identifier: Apache-2.0
"""How images travel to the real server: in shared memory, or as the JPEG that the camera sent."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="the triton extra is not installed")

from shared_regions import regions, registered
from waiting import wait_until

from benchmark.inference_server import InferenceServer, missing_server
from mask_detector_ros import MaskDetector
from mask_detector_ros.imaging.decoding import decode

pytestmark = pytest.mark.skipif(bool(missing_server()), reason=missing_server() or "it is there")

DEADLINE = 5.0
"""Seconds, for a busy machine; a robot has less."""


@pytest.fixture(scope="module")
def server():
    with InferenceServer("--instances", "1") as server:
        yield server


@pytest.fixture
def load(server):
    detectors = []

    def load(**parameters):
        common = {"backend": "triton", "server_url": server.address, "server_deadline": DEADLINE}
        detectors.append(MaskDetector.load(**{**common, **parameters}))
        return detectors[-1]

    yield load
    for detector in detectors:
        detector.close()


def test_images_on_this_machine_go_through_shared_memory_that_is_freed(load, server, astronaut):
    served = load()
    served(astronaut[:200])
    (first,) = registered(server.address)
    # A larger image needs a larger region, in place of the first.
    served(astronaut)
    (second,) = registered(server.address)
    assert first != second
    assert first not in regions()
    served.close()
    assert second not in regions()


def test_the_region_of_a_killed_client_is_removed(server, load, astronaut, astronaut_file):
    code = (
        "import sys; from mask_detector_ros import MaskDetector;"
        f"detector = MaskDetector.load(backend='triton', server_url='{server.address}',"
        f" server_deadline={DEADLINE}); detector(sys.argv[1]); print(flush=True); input()"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", code, astronaut_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdout.readline() == b"\n"
    (left,) = registered(server.address)
    client.kill()
    client.wait()
    wait_until(lambda: left not in regions())
    assert left in registered(server.address), "the server keeps it until the next client comes"
    load()(astronaut)
    assert left not in registered(server.address)


def test_an_offered_jpeg_gives_exactly_the_faces_of_the_decoded_image(load, detector, astronaut):
    served = load(server_image_format="jpeg", server_jpeg_quality=30)
    data = cv2.imencode(".jpg", astronaut)[1].tobytes()
    image = decode(data)
    expected, poor = detector(image), served(image)
    served.offer_jpeg(image, data)
    found = served(image)
    for name in ("boxes", "scores", "landmarks", "probabilities"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert not np.array_equal(poor.boxes, expected.boxes), "without it, it is encoded again"
    # An offer is for its image only.
    np.testing.assert_array_equal(served(image.copy()).boxes, poor.boxes)
