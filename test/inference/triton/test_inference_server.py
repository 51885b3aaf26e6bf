# SPDX-License-Identifier: Apache-2.0
"""The detector through the real server: same faces, and each way in which a server fails."""

import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="the triton extra is not installed")

from shared_regions import in_use
from silent_proxy import SilentProxy
from waiting import LIMIT, wait_until

from benchmark.inference_server import InferenceServer, missing_server
from mask_detector_ros import MaskDetector
from mask_detector_ros.errors import (
    BackendError,
    ImageError,
    MaskDetectorError,
    ModelError,
    ServerError,
)

pytestmark = pytest.mark.skipif(bool(missing_server()), reason=missing_server() or "it is there")


@pytest.fixture(scope="module")
def server():
    limits = "--queue-size 2 --queue-limit 30 --max-image-pixels 8294400"
    with InferenceServer("--instances", "1", *limits.split()) as server:
        yield server


@pytest.fixture
def load(server):
    detectors = []

    def load(**parameters):
        common = {
            "backend": "triton",
            "server_url": server.address,
            "server_deadline": LIMIT,
            "threads": 1,
        }
        detectors.append(MaskDetector.load(**{**common, **parameters}))
        return detectors[-1]

    yield load
    for detector in detectors:
        detector.close()


def succeeds(function, *arguments, **options):
    """What a call that needs the server returns, or None while the server does not serve."""
    try:
        return function(*arguments, **options)
    except MaskDetectorError:
        return None


@pytest.mark.parametrize("size", [512, 300, 64])
def test_raw_pixels_give_exactly_the_faces_of_this_machine(load, detector, astronaut, size):
    image = astronaut[:size, :size]
    found, expected = load()(image), detector(image)
    for name in ("boxes", "scores", "landmarks", "probabilities"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.labels == expected.labels


def test_jpeg_gives_nearly_the_same_faces(load, detector, astronaut):
    found, expected = load(server_image_format="jpeg")(astronaut), detector(astronaut)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.02)


def test_live_parameters_have_their_effect_on_the_server(load, astronaut):
    assert len(load(min_face_size=300)(astronaut)) == 0
    assert len(load(detection_thresholds=(0.6, 0.7, 1.0))(astronaut)) == 0


def test_an_unknown_model_or_version_is_named_with_those_that_exist(load):
    with pytest.raises(ModelError, match=r"has no model face; it has mask_detector:1: set"):
        load(server_model="face")
    with pytest.raises(ModelError, match=r"has no model mask_detector:7; it has mask_detector:1"):
        load(server_model="mask_detector:7")
    load(server_model="mask_detector:1")


def test_other_weights_are_rejected_at_connect(load):
    with pytest.raises(ModelError, match=r"has other weights: .*\(mtcnn_two_stage and auto\)"):
        load(detector_model="mtcnn_masked")


def test_an_image_that_the_server_rejects_is_an_error_of_the_image(load, astronaut):
    served = load()
    with pytest.raises(ImageError, match=r"rejects the image: .*max_image_pixels"):
        served(np.zeros((3000, 3000, 3), np.uint8))
    assert len(served(astronaut)) == 1


def test_a_full_queue_rejects_at_once(load, astronaut):
    """While the server processes one image and two wait, a further one must not wait as well."""
    slow = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    served, *others = [load(server_deadline=LIMIT) for _ in range(5)]
    done = threading.Event()

    def occupy(other):
        while not done.is_set():
            succeeds(other, slow)

    def is_rejected_at_once():
        start = time.monotonic()
        try:
            served(astronaut)
        except ServerError as error:
            return "is overloaded (" in str(error) and time.monotonic() - start < 0.05
        return False

    with ThreadPoolExecutor(len(others)) as pool:
        busy = [pool.submit(occupy, other) for other in others]
        try:
            wait_until(is_rejected_at_once)
        finally:
            done.set()
        for future in busy:
            future.result()
    assert len(served(astronaut)) == 1


def test_a_stopped_server_costs_the_deadline_and_no_more(load, server, astronaut):
    served = wait_until(lambda: succeeds(load, server_deadline=0.3))
    wait_until(lambda: succeeds(served, astronaut))
    with server.stopped():
        start = time.monotonic()
        with pytest.raises(ServerError, match=r"did not answer in 0.3 s"):
            served(astronaut)
        assert time.monotonic() - start < 10
    assert wait_until(lambda: succeeds(served, astronaut))


def test_a_connection_that_is_lost_without_a_word_is_replaced(load, server, astronaut):
    proxy = SilentProxy(int(server.address.rpartition(":")[2]))
    url = f"127.0.0.1:{proxy.port}"
    served = wait_until(lambda: succeeds(load, server_url=url, server_deadline=0.5))
    wait_until(lambda: succeeds(served, astronaut))
    proxy.silence()
    for _ in range(2):
        with pytest.raises(ServerError, match="did not answer"):
            served(astronaut)
    assert wait_until(lambda: succeeds(served, astronaut))
    served.close()
    proxy.close()


def test_a_killed_server_is_noticed_at_once_and_used_again_after_its_restart(
    load, server, astronaut, detector
):
    served = load(server_deadline=30.0)
    assert len(served(astronaut)) == 1
    old = in_use(server.address)
    assert old
    server.kill()
    start = time.monotonic()
    with pytest.raises(ServerError, match="no inference server answers at"):
        served(astronaut)
    assert time.monotonic() - start < 10
    assert served.server_state.startswith("not serving: no inference server answers")
    server.start()
    found = wait_until(lambda: succeeds(served, astronaut))
    np.testing.assert_array_equal(found.boxes, detector(astronaut).boxes)
    # The new process knows none of the old memory.
    assert in_use(server.address).isdisjoint(old)
    assert in_use(server.address)


def test_a_patient_client_outlasts_a_restart(load, server, astronaut):
    served = load(server_patience=120.0)
    server.kill()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(served, astronaut)
        server.start()
        assert len(found.result()) == 1


def test_a_restart_with_another_model_is_rejected(load, server, astronaut):
    served = load()
    server.kill()
    server.start("--detector-model", "mtcnn")
    with pytest.raises(MaskDetectorError):
        served(astronaut)
    with pytest.raises(ModelError, match=r"has other weights: .*\(mtcnn and auto\), expected is"):
        wait_until(lambda: served(astronaut))
    server.kill()
    server.start()
    assert wait_until(lambda: succeeds(served, astronaut))


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    files = [str(tmp_path / name) for name in ("certificate.pem", "key.pem")]
    words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=test -addext"
    subprocess.run(
        [
            "openssl",
            *words.split(),
            "subjectAltName=IP:127.0.0.1",
            "-out",
            files[0],
            "-keyout",
            files[1],
        ],
        check=True,
        capture_output=True,
    )
    return files


def test_only_those_with_tls_a_certificate_and_the_token_are_served(
    tmp_path, certificate, astronaut
):
    token, wrong = tmp_path / "token", tmp_path / "wrong"
    token.write_text("0123456789abcdef\n")
    wrong.write_text("0123456789abcdeX\n")
    own, key = certificate
    secured = ("--token-file", str(token), "--tls-cert", own, "--tls-key", key)
    secured += ("--queue-limit", "60")
    with InferenceServer("--instances", "1", *secured, "--tls-client-ca", own) as server:
        whole = {
            "server_url": f"grpcs://{server.address}",
            "server_ca": own,
            "server_certificate": own,
            "server_key": key,
            "server_token_file": str(token),
        }

        def load(**parameters):
            given = {**whole, **parameters}
            return MaskDetector.load(backend="triton", server_deadline=LIMIT, **given)

        for file in ("", str(wrong)):
            with pytest.raises(BackendError, match=r"demands a token, or another one; give it in"):
                load(server_token_file=file)
        with pytest.raises(ServerError, match=r"(?i)certificate"):
            load(server_ca="")
        with pytest.raises(ServerError, match="no inference server answers"):
            load(server_certificate="", server_key="")
        plain = dict.fromkeys(("server_ca", "server_certificate", "server_key"), "")
        with pytest.raises(ServerError, match="no inference server answers"):
            load(server_url=server.address, **plain)
        with load() as detector:
            assert len(detector(astronaut)) == 1
