# SPDX-License-Identifier: Apache-2.0
"""Which networks run: with `auto` the server's while it answers in time, otherwise this
machine's."""

import time

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="the triton extra is not installed")

from grpc_detector import GrpcDetector
from waiting import LIMIT, wait_until

from benchmark.inference_server import InferenceServer, missing_server
from mask_detector_ros import MaskDetector, server_link
from mask_detector_ros.errors import ParameterError

needs_server = pytest.mark.skipif(bool(missing_server()), reason=missing_server() or "it is there")


@pytest.fixture
def load():
    detectors = []

    def load(url, **parameters):
        common = {"backend": "auto", "server_url": url, "threads": 1}
        detectors.append(MaskDetector.load(**{**common, **parameters}))
        return detectors[-1]

    yield load
    for detector in detectors:
        detector.close()


@pytest.fixture
def small_server():
    server = GrpcDetector(MaskDetector.load(threads=1))
    yield server
    server.close()


@pytest.fixture(scope="module")
def server():
    with InferenceServer("--instances", "1", "--queue-limit", "60") as server:
        yield server


class Robot:
    """Processes one frame after the other, and records the time of each."""

    def __init__(self, detector, image):
        self._detector, self._image = detector, image
        self.times = []

    def step(self):
        start = time.monotonic()
        faces = self._detector(self._image)
        self.times.append(time.monotonic() - start)
        assert len(faces) == 1
        return self._detector.backend

    def run_until(self, backend):
        wait_until(lambda: self.step() == backend, what=f"backend {backend}")


def test_without_a_server_this_machine_starts_at_once_and_the_reason_is_told(
    load, astronaut, caplog
):
    detector = load("127.0.0.1:9")
    assert len(detector(astronaut)) == 1
    assert detector.backend == "onnxruntime"
    wait_until(lambda: detector.server_state.startswith("not serving: no inference server answers"))
    assert detector.backend_reason.startswith("not serving: no inference server answers at")
    assert "staying on the CPU" in detector.backend_reason
    assert "this machine serves, without the server: no inference server answers" in caplog.text


def test_the_server_serves_between_two_frames_once_it_is_connected(
    load, small_server, astronaut, detector
):
    served = load(small_server.url, server_deadline=30.0)
    assert served.backend == "onnxruntime"
    assert served.wait_for_server(LIMIT)
    assert served.backend == "onnxruntime"
    np.testing.assert_array_equal(served(astronaut).boxes, detector(astronaut).boxes)
    assert served.backend == "triton"
    assert served.backend_reason.startswith("serving from mask_detector at")
    assert served.server_state == "serving"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": '["mask", "no_mask"]', "roles": "null"}, "has other labels: .*mask, no_mask"),
        ({"model_sha256": "0" * 64}, "has other weights"),
    ],
)
def test_a_server_of_another_model_is_never_used(
    load, small_server, astronaut, change, reason, caplog
):
    small_server.parameters.update(change)
    if "roles" in change:
        small_server.parameters["roles"] = '["with_mask", "without_mask"]'
    served = load(small_server.url)
    wait_until(lambda: served.server_state.startswith("not serving: mask_detector at"))
    assert len(served(astronaut)) == 1
    assert served.backend == "onnxruntime"
    assert small_server.requests == []
    assert caplog.text.count("this machine serves, without the server") == 1


def test_one_frame_that_fails_does_not_end_the_use_of_the_server(load, small_server, astronaut):
    served = load(small_server.url, server_deadline=30.0)
    assert served.wait_for_server(LIMIT)
    robot = Robot(served, astronaut)
    assert robot.step() == "triton"
    whole, small_server.change = small_server.change, lambda arrays: {}
    assert robot.step() == "onnxruntime"
    small_server.change = whole
    assert robot.step() == "triton"


def test_a_server_that_fails_soon_after_its_return_must_prove_itself_for_longer(
    load, small_server, astronaut, monkeypatch
):
    monkeypatch.setattr(server_link, "RETRY_PERIOD", 0.02)
    monkeypatch.setattr(server_link, "SOON", float("inf"))
    served = load(small_server.url, server_deadline=30.0)
    robot = Robot(served, astronaut)
    whole, probes = small_server.change, []
    for _ in range(4):
        robot.run_until("triton")
        small_server.change = lambda arrays: {}
        robot.run_until("onnxruntime")
        assert robot.step() == "onnxruntime"
        answers = []
        small_server.change = lambda arrays, answers=answers: answers.append(1) or whole(arrays)
        assert served.wait_for_server(LIMIT)
        probes.append(len(answers))
    assert probes == [3, 6, 12, 24]


@needs_server
def test_frames_go_on_when_the_server_is_killed_and_it_is_used_again_after_its_restart(
    load, server, astronaut, caplog
):
    served = load(server.address, server_deadline=30.0)
    robot = Robot(served, astronaut)
    robot.run_until("triton")
    robot.times.clear()
    server.kill()
    robot.run_until("onnxruntime")
    for _ in range(10):
        assert robot.step() == "onnxruntime"
    assert max(robot.times) < 30, "no frame waits for a server that is gone"
    assert "not serving: no inference server answers at" in served.backend_reason
    assert "this machine serves, without the server: no inference server" in caplog.text
    server.start()
    robot.run_until("triton")


@needs_server
def test_frames_go_on_when_the_server_stops_answering(load, server, astronaut):
    deadline = 1.0
    served = load(server.address, server_deadline=deadline)
    robot = Robot(served, astronaut)
    robot.run_until("triton")
    robot.times.clear()
    with server.stopped():
        robot.run_until("onnxruntime")
        for _ in range(10):
            assert robot.step() == "onnxruntime"
        # The deadline is paid twice, not for each frame.
        assert sum(seconds >= deadline for seconds in robot.times) <= 3
        assert "did not answer in" in served.backend_reason
    robot.run_until("triton")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"backend": "triton"}, "backend triton needs server_url"),
        ({"backend": "onnxruntime", "server_url": "hub"}, "goes with the backends auto and triton"),
        ({"server_url": "http://hub:8000"}, "server_url must be HOST, grpc://HOST:PORT"),
        ({"server_model": "a:b"}, "server_model must be NAME or NAME:VERSION"),
        ({"server_sha256": "12"}, "server_sha256 must be 64 hexadecimal digits, any, or empty"),
        ({"server_image_format": "png"}, "must be one of auto, raw, jpeg"),
    ],
)
def test_parameters_that_contradict_each_other_are_rejected(parameters, message):
    with pytest.raises(ParameterError, match=message):
        MaskDetector.load(**parameters)
