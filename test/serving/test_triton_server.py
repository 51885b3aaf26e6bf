# SPDX-License-Identifier: Apache-2.0
"""The server gives the same answers as the library, and rejects wrong or too many requests."""

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
import zlib

import cv2
import numpy as np
import pytest
from protocol_client import Client
from shared_regions import unregister
from waiting import wait_until

from mask_detector_ros import __version__
from mask_detector_ros.models import hash_networks

ARRAYS = ("boxes", "scores", "landmarks", "probabilities")


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return answer.read().decode()


def failure(client, *arguments, **options):
    """The code and message of a failing request."""
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException) as caught:
        client.send(*arguments, **options)
    return caught.value.status(), caught.value.message()


def test_faces_through_the_server_equal_local_ones(client, detector, astronaut):
    answer, faces = client.send(astronaut), detector(astronaut)
    assert len(faces) == 1
    for name in ARRAYS:
        np.testing.assert_allclose(answer[name], getattr(faces, name), rtol=1e-5, atol=1e-5)
    assert answer["dropped"].tolist() == [0]


def test_an_image_without_faces_gives_empty_arrays(client, noise):
    answer = client.send(noise)
    assert [answer[name].shape for name in ARRAYS] == [(0, 4), (0,), (0, 5, 2), (0, 3)]


def test_a_jpeg_is_decoded_on_the_server(client, detector, jpeg):
    answer = client.send(jpeg=jpeg)
    faces = detector(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
    np.testing.assert_allclose(answer["boxes"], faces.boxes, atol=1e-3)


def test_the_config_says_what_a_client_must_know(client, detector):
    facts = client.facts()
    assert tuple(json.loads(facts["labels"])) == detector.label_names
    assert tuple(json.loads(facts["roles"])) == detector.label_roles
    assert facts["model_sha256"] == hash_networks("mtcnn_two_stage", "auto")
    assert facts["package_version"] == __version__


def test_a_request_brings_its_own_parameters(client, astronaut):
    assert len(client.send(astronaut, min_face_size=400)["boxes"]) == 0
    assert len(client.send(astronaut, detection_thresholds="[1.0, 1.0, 1.0]")["boxes"]) == 0
    # The next request has the server's values again.
    assert len(client.send(astronaut)["boxes"]) == 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"max_faces": -1}, "max_faces must be an integer from 0 to 10000, got -1"),
        ({"margin": "9"}, "margin must be a number from -1 to 2, got 9"),
        ({"detection_thresholds": "[0.6]"}, "detection_thresholds must be 3 numbers"),
        ({"min_face_size": "x"}, "min_face_size must be an integer"),
    ],
)
def test_a_wrong_parameter_of_a_request_is_named(client, astronaut, parameters, words):
    code, message = failure(client, astronaut, **parameters)
    assert "INVALID_ARGUMENT" in code
    assert words in message


def test_a_request_cannot_raise_the_limit_of_image_sizes(client):
    small = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    # Its header says that it has 20,000 x 20,000 pixels.
    header = small[12:16] + (20_000).to_bytes(4, "big") * 2 + small[24:29]
    huge = small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]
    code, message = failure(client, jpeg=huge, max_image_pixels=1_000_000_000)
    assert "INVALID_ARGUMENT" in code
    assert "max_image_pixels" in message


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 4), np.uint8), "unexpected shape for input 'image'"),
        (np.zeros((0, 4, 3), np.uint8), "it is empty"),
        (None, "exactly one of the inputs image and jpeg"),
    ],
)
def test_an_image_of_a_wrong_shape_is_rejected(client, image, words):
    code, message = failure(client, image)
    assert "INVALID_ARGUMENT" in code
    assert words in message


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe0 broken"])
def test_a_damaged_jpeg_is_rejected(client, astronaut, data):
    assert "INVALID_ARGUMENT" in failure(client, jpeg=data)[0]
    assert len(client.send(astronaut)["boxes"]) == 1


@pytest.mark.parametrize(("model", "version"), [("other", ""), ("mask_detector", "7")])
def test_an_unknown_model_or_version_is_not_found(client, astronaut, model, version):
    code, message = failure(client, astronaut, model=model, version=version)
    assert "NOT_FOUND" in code
    assert model in message
    names = {(m.name, m.version) for m in client.api.get_model_repository_index().models}
    assert names == {("mask_detector", "1")}


def test_too_many_requests_are_rejected_at_once(server, astronaut):
    """While one request is processed and two wait, a further one must not wait in the queue."""
    large = cv2.imencode(".jpg", cv2.resize(astronaut, (1600, 1600)))[1].tobytes()
    small, done = astronaut[:64, :64].copy(), threading.Event()

    def occupy():
        client = Client(server.address)
        while not done.is_set():
            with contextlib.suppress(Exception):
                client.send(jpeg=large)

    def is_rejected_at_once(client):
        start = time.monotonic()
        try:
            client.send(small)
        except Exception as error:
            if "[StatusCode.UNAVAILABLE]" in str(error) and "maximum queue size" in str(error):
                # 3 ms on an idle machine; in the queue it would wait for the large images.
                return time.monotonic() - start < 0.05
        return False

    threads = [threading.Thread(target=occupy) for _ in range(5)]
    for thread in threads:
        thread.start()
    client = Client(server.address)
    try:
        wait_until(lambda: is_rejected_at_once(client))
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_health_and_metrics_are_those_of_triton(server, client, astronaut):
    client.send(astronaut)
    assert get(server.http_port, "/v2/health/ready") == ""
    assert get(server.http_port, "/v2/health/live") == ""
    metrics = get(server.metrics_port, "/metrics")
    assert 'nv_inference_request_success{model="mask_detector",version="1"}' in metrics
    assert 'nv_inference_queue_duration_us{model="mask_detector"' in metrics


def test_no_client_writes_the_files_of_the_server(server, client):
    from tritonclient.utils import InferenceServerException

    for call in (client.api.get_trace_settings, client.api.get_log_settings):
        with pytest.raises(InferenceServerException, match="restricted"):
            call()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(server.http_port, "/v2/logging")


def test_a_client_of_this_machine_uses_shared_memory(client, astronaut, detector):
    from tritonclient import grpc
    from tritonclient.utils import shared_memory

    key = f"/mask_test_{uuid.uuid4().hex}"
    region = shared_memory.create_shared_memory_region("photo", key, astronaut.nbytes)
    try:
        shared_memory.set_shared_memory_region(region, [astronaut])
        client.api.register_system_shared_memory("photo", key, astronaut.nbytes)
        image = grpc.InferInput("image", astronaut.shape, "UINT8")
        image.set_shared_memory("photo", astronaut.nbytes)
        answer = client.api.infer("mask_detector", [image], client_timeout=20)
        np.testing.assert_allclose(
            answer.as_numpy("boxes"), detector(astronaut).boxes, rtol=1e-5, atol=1e-5
        )
    finally:
        unregister(client.api, "photo")
        shared_memory.destroy_shared_memory_region(region)
