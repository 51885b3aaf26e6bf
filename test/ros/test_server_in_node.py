# SPDX-License-Identifier: Apache-2.0
"""The node with an inference server: its results continue or stop, and diagnostics say why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")
pytest.importorskip("tritonclient.grpc", reason="the triton extra is not installed")

from detector_client import NODE, make_image
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from grpc_detector import GrpcDetector
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray
from waiting import wait_until

from benchmark.inference_server import InferenceServer, free_ports, missing_server
from mask_detector_ros import MaskDetector

pytestmark = pytest.mark.skipif(bool(missing_server()), reason=missing_server() or "it is there")


@pytest.fixture(scope="module")
def server() -> Iterator[InferenceServer]:
    with InferenceServer("--instances", "1", "--queue-limit", "60") as server:
        yield server


def black_image() -> Image:
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return make_image(np.zeros((48, 64, 3), np.uint8), sec=seconds, nanosec=nanoseconds)


class Robot:
    """A node with a server, a camera and a subscriber."""

    def __init__(self, graph: Any, server: InferenceServer, backend: str) -> None:
        parameters = {"backend": backend, "server_url": server.address, "threads": 1}
        # A busy machine may answer late; what is tested is a server that is gone.
        self.node = graph.start("mask_detector_node", server_deadline=30.0, **parameters)
        self._graph = graph
        client = graph.client()
        self.detections = client.listen(Detection2DArray, f"{NODE}/detections")
        self._reports = client.listen(DiagnosticArray, "/diagnostics")
        self._images = client.advertise(Image, "/image_raw", 10)

    def diagnostics(self) -> dict[str, str]:
        """Level, message and values of the last diagnostics."""
        if not self._reports:
            return {}
        status = self._reports[-1].status[0]
        values = {pair.key: pair.value for pair in status.values}
        return {**values, "level": status.level, "message": status.message}

    def run_until(self, condition: Callable[[], Any], what: str) -> None:
        """Send images until the condition holds."""
        wait_until(lambda: self._images.publish(black_image()) or condition(), what=what)

    def wait_for(self, what: str, **expected: Any) -> dict[str, str]:
        """Send images until diagnostics have these values; return them all."""
        found: dict[str, str] = {}

        def is_found() -> bool:
            found.update(self.diagnostics())
            return expected.items() <= found.items()

        self.run_until(is_found, what)
        return found

    def expect_results(self) -> None:
        count = len(self.detections)
        self.run_until(lambda: len(self.detections) > count + 3, what="detections")

    def wait_for_log(self, text: str) -> None:
        self._graph.wait_for_output(self.node, text)


def test_with_auto_results_go_on_without_the_server(graph: Any, server: InferenceServer) -> None:
    robot = Robot(graph, server, "auto")
    said = robot.wait_for("the server", backend="triton", server="serving")
    assert said["device"] == f"{server.address} (mask_detector)"
    server.kill()
    robot.expect_results()
    said = robot.wait_for("a warning", backend="onnxruntime", level=DiagnosticStatus.WARN)
    assert said["message"].startswith(
        "running without the server, which is not serving: no inference server answers at"
    )
    assert "no inference server answers" in said["backend reason"]
    assert said["frames failed"] == "0"
    robot.wait_for_log("this machine serves, without the server: no inference server answers")
    server.start()
    robot.wait_for("the server again", backend="triton", message="running")


def test_with_triton_frames_are_dropped_with_a_warning_until_the_server_is_back(
    graph: Any, server: InferenceServer
) -> None:
    robot = Robot(graph, server, "triton")
    robot.expect_results()
    server.kill()
    said = robot.wait_for("an error", level=DiagnosticStatus.ERROR)
    assert "frames failed: no inference server answers at" in said["message"]
    assert int(said["frames failed"]) >= 3
    assert said["backend"] == "triton"
    robot.wait_for_log("frame dropped (")
    server.start()
    robot.expect_results()
    robot.wait_for("the server", server="serving")


def test_triton_without_its_server_does_not_start_and_says_why(graph: Any) -> None:
    url = f"127.0.0.1:{free_ports(1)[0]}"
    node = graph.start("mask_detector_node", backend="triton", server_url=url, threads=1)
    wait_until(lambda: node.poll() is not None, what="the end of the node")
    assert node.returncode == 1
    assert "no inference server answers at" in graph.output(node)


def test_a_jpeg_of_the_camera_goes_to_the_server_as_it_is(graph: Any) -> None:
    server = GrpcDetector(MaskDetector.load(threads=1))
    parameters = {"server_url": server.url, "server_image_format": "jpeg", "server_deadline": 30.0}
    graph.start("mask_detector_node", backend="triton", image_transport="compressed", **parameters)
    camera = graph.client().advertise(CompressedImage, "/image_raw/compressed", 10)
    data = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    message = CompressedImage(format="bgr8; jpeg compressed bgr8", data=data)

    def was_sent() -> bool:
        camera.publish(message)
        return any(r.raw_input_contents[0][4:] == data for r in server.requests)

    wait_until(was_sent, what="the camera's own bytes at the server")
    server.close()
