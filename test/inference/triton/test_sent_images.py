# SPDX-License-Identifier: Apache-2.0
"""How images travel to the real server: in shared memory, or as the JPEG that the camera sent."""

import subprocess
import sys
from contextlib import closing

import cv2
import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="the triton extra is not installed")

from shared_regions import exists, in_use, registered
from waiting import LIMIT, wait_until

from benchmark.inference_server import InferenceServer, missing_server
from mask_detector_ros import MaskDetector
from mask_detector_ros.errors import ServerError
from mask_detector_ros.imaging.decoding import decode
from mask_detector_ros.inference.options import ServerOptions
from mask_detector_ros.inference.triton import session

pytestmark = pytest.mark.skipif(bool(missing_server()), reason=missing_server() or "it is there")


@pytest.fixture(scope="module")
def server():
    with InferenceServer("--instances", "1", "--queue-limit", f"{LIMIT}") as server:
        yield server


@pytest.fixture
def load(server):
    detectors = []

    def load(**parameters):
        common = {"backend": "triton", "server_url": server.address, "server_deadline": LIMIT}
        detectors.append(MaskDetector.load(**{**common, **parameters}))
        return detectors[-1]

    yield load
    for detector in detectors:
        detector.close()


def test_images_on_this_machine_go_through_shared_memory_that_is_freed(load, server, astronaut):
    served = load()
    served(astronaut[:200])
    (first,) = in_use(server.address)
    # A larger image needs a larger region, in place of the first.
    served(astronaut)
    (second,) = in_use(server.address)
    assert first != second
    # The server releases the first after its answer; the next frame unregisters it.
    wait_until(lambda: len(served(astronaut)) and registered(server.address) == {second})
    served.close()
    assert not exists(second)


@pytest.fixture
def abandoned(server, monkeypatch):
    """A session that gave up its request, with which the server is busy for a second or more."""
    monkeypatch.setattr(session, "CONNECT_DEADLINES", (LIMIT, LIMIT))
    options = ServerOptions(server.address, "mask_detector", deadline=0.1)
    noise = np.random.default_rng(0).integers(0, 256, (2160, 3840, 3), np.uint8)
    with closing(session.connect(options)) as abandoned:
        with pytest.raises(ServerError, match=r"did not answer in 0.1 s"):
            abandoned.run(image=noise)
        assert in_use(server.address)
        yield abandoned


def test_a_region_is_unregistered_when_the_server_ends_its_last_request(abandoned, server):
    abandoned.close()
    assert not registered(server.address)


def test_a_region_that_outlasts_its_client_is_unregistered_by_a_later_frame_of_another(
    abandoned, load, server, astronaut, monkeypatch
):
    (left,) = in_use(server.address)
    monkeypatch.setattr(session, "CONNECT_DEADLINES", (0.0, LIMIT))
    abandoned.close()
    other = load()
    wait_until(lambda: len(other(astronaut)) and left not in registered(server.address))


def test_the_region_of_a_killed_client_is_removed(server, load, astronaut, astronaut_file):
    code = (
        "import sys; from mask_detector_ros import MaskDetector;"
        f"detector = MaskDetector.load(backend='triton', server_url='{server.address}',"
        f" server_deadline={LIMIT}); detector(sys.argv[1]); print(flush=True); input()"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", code, astronaut_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdout.readline() == b"\n"
    (left,) = in_use(server.address)
    client.kill()
    client.wait()
    wait_until(lambda: not exists(left))
    assert left in registered(server.address), "the server keeps it until the next client comes"
    other = load()
    wait_until(lambda: len(other(astronaut)) and left not in registered(server.address))


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
