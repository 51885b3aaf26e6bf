# SPDX-License-Identifier: Apache-2.0
"""The image_source node as a separate process, seen over DDS."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from network_camera import NetworkCamera
from waiting import wait_until

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from benchmark.inference_server import free_ports
from mask_detector_ros.imaging.encodings import decode_message

NODE = "image_source_node"
SMALL_SCENE = {"width": 320, "height": 240}


@pytest.fixture
def images(graph) -> list[Image]:
    """The images that a client of the graph has received so far."""
    return graph.client().listen(Image, "/image_raw", 50)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Three images that differ in brightness: 0, 50, 100."""
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((30, 40, 3), 50 * i, np.uint8))
    return tmp_path


def brightness(messages: list[Image]) -> list[int]:
    return [int(decode_message(message)[0, 0, 0]) for message in messages]


def seconds(message: Any) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec / 1e9


def test_every_image_of_a_directory_arrives_once_and_then_the_process_ends(
    graph, images, photographs
):
    node = graph.start(
        NODE, source=photographs, loop=False, wait_for_subscriber=True, frame_id="front"
    )
    wait_until(lambda: len(images) >= 3, what="three images")
    wait_until(lambda: node.poll() is not None, what="the end of the process")
    assert node.returncode == 0
    assert "ended after 3 frames" in graph.output(node)
    assert brightness(images) == [0, 50, 100]
    assert {(m.encoding, m.width, m.height, m.header.frame_id) for m in images} == {
        ("bgr8", 40, 30, "front")
    }


@pytest.mark.parametrize("lossless", [False, True])
def test_a_detector_of_compressed_images_receives_them(graph, photographs, lossless):
    """Compressed images have a separate topic, beside the raw one as it is remapped."""
    remap = ("-r", "image_raw/compressed:=/cam/compressed")
    graph.start("mask_detector_node", *remap, image_transport="compressed", threads=1)
    remap = ("-r", "image_raw:=/cam", "-r", "detections:=/mask_detector/detections")
    options = {"source": photographs, "wait_for_subscriber": True, "lossless": lossless}
    node = graph.start(NODE, *remap, **options, loop=not lossless)
    if lossless:
        wait_until(lambda: node.poll() is not None, what="the end of the process")
        assert "ended after 3 frames" in graph.output(node)
        assert "no detections of" not in graph.output(node), "each frame's detections came"
    else:
        detections = graph.client().listen(Detection2DArray, "/mask_detector/detections", 50)
        wait_until(lambda: detections, what="detections")


def test_images_begin_again_by_default_and_keep_the_rate(graph, images, photographs):
    graph.start(NODE, source=photographs, rate=20, wait_for_subscriber=True, frames=7)
    wait_until(lambda: len(images) == 7, what="seven images")
    assert brightness(images) == [0, 50, 100, 0, 50, 100, 0]
    stamps = [seconds(message) for message in images]
    assert min(np.diff(stamps)) > 0
    # A busy machine makes the pace slower, never faster.
    assert stamps[-1] - stamps[0] > 6 * 0.9 / 20


def test_the_sample_scene_comes_with_its_truth_under_the_same_header(graph, images):
    truths = graph.client().listen(Detection2DArray, "/image_source/ground_truth", 50)
    graph.start(NODE, **SMALL_SCENE)

    def matched() -> list[Detection2DArray]:
        headers = [image.header for image in images]
        return [truth for truth in list(truths) if truth.header in headers]

    wait_until(lambda: len(matched()) >= 3, what="images with their truth")
    assert (images[0].width, images[0].height, images[0].header.frame_id) == (320, 240, "camera")
    detections = [detection for truth in matched() for detection in truth.detections]
    assert detections
    assert {detection.results[0].hypothesis.class_id for detection in detections} <= {
        "with_mask",
        "without_mask",
        "mask_worn_incorrectly",
    }


def test_the_first_frame_waits_for_the_subscriber_of_its_truth(graph, images):
    # Two participants, which the node discovers one after the other.
    truths = graph.client("other").listen(Detection2DArray, "/image_source/ground_truth", 50)
    node = graph.start(NODE, **SMALL_SCENE, wait_for_subscriber=True, frames=3)
    wait_until(lambda: node.poll() is not None, what="the end of the process")
    wait_until(lambda: len(images) == 3 and len(truths) == 3, what="three images and truths")
    assert [image.header for image in images] == [truth.header for truth in truths]


def test_where_nobody_knows_the_truth_none_is_published(graph, images, photographs):
    graph.start(NODE, source=photographs)
    client = graph.client("other")
    wait_until(lambda: images, what="an image")
    assert client.node.count_publishers("/image_source/ground_truth") == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_with_0_and_without_a_traceback(graph, images, how):
    node = graph.start(NODE, **SMALL_SCENE)
    wait_until(lambda: len(images) > 2, what="images")
    assert graph.end(node, how) == 0
    assert "Traceback" not in graph.output(node)


def one_error_line(graph, node) -> str:
    wait_until(lambda: node.poll() is not None, what="the end of the process")
    words = graph.output(node)
    assert node.returncode == 1
    assert words.startswith("error: ")
    assert words.count("\n") == 1
    return words


def test_a_text_file_in_place_of_a_video_is_one_line_and_exit_code_1(graph, tmp_path):
    path = tmp_path / "talk.mp4"
    path.write_text("These are not moving pictures.\n")
    assert "is a text file, not a video" in one_error_line(graph, graph.start(NODE, source=path))


@pytest.mark.parametrize(
    ("parameter", "allowed"),
    [
        ({"rate": "fast"}, "rate must be a number from 0 to 1000"),
        ({"rate": -1.0}, "rate must be a number from 0 to 1000"),
        ({"width": 10}, "width must be an integer from 64"),
        ({"loop": 3}, "loop must be true or false"),
    ],
)
def test_a_wrong_parameter_is_one_line_that_says_what_is_allowed(graph, parameter, allowed):
    assert allowed in one_error_line(graph, graph.start(NODE, **parameter))


def test_a_missing_camera_is_waited_for(graph):
    """Given a number instead of /dev/videoN, which YAML reads as an integer."""
    node = graph.start(NODE, source=4242)
    graph.wait_for_output(node, "there is no camera /dev/video4242")
    graph.wait_for_output(node, "Retrying")
    assert graph.end(node) == 0
    assert "Traceback" not in graph.output(node)


def test_a_camera_that_disappears_is_found_again_when_it_is_back(graph, images):
    # A port that stays free while the camera is away.
    camera = NetworkCamera(free_ports(1)[0], brightness=60)
    node = graph.start(NODE, source=camera.url)
    wait_until(lambda: len(images) > 2, what="images")
    assert abs(brightness(images)[0] - 60) <= 2

    camera.disappear()
    graph.wait_for_output(node, "lost the stream")
    graph.wait_for_output(node, "Retrying")

    camera = NetworkCamera(camera.port, brightness=200)
    wait_until(lambda: abs(brightness(images)[-1] - 200) <= 2, what="images of the new camera")
    assert node.poll() is None
    camera.disappear()


def test_a_signal_ends_the_process_while_its_camera_keeps_silent(graph, images):
    camera = NetworkCamera()
    node = graph.start(NODE, source=camera.url)
    wait_until(lambda: len(images) > 2, what="images")
    camera.silent.set()
    assert graph.end(node, signal.SIGTERM) == 0
    assert "Traceback" not in graph.output(node)
    camera.disappear()


def test_a_large_image_is_reduced_with_a_word(graph, images, photographs):
    node = graph.start(NODE, source=photographs, max_megapixels=0.0003, wait_for_subscriber=True)
    wait_until(lambda: images, what="an image")
    assert (images[0].width, images[0].height) == (20, 15)
    graph.wait_for_output(node, "0.png of 40x30 is sent as 20x15; raise max_megapixels")


def test_a_lossless_file_waits_for_the_detections_of_each_frame(graph, images, photographs):
    """The stamps follow the file's pace, however long the detections take."""
    client = graph.client("detector")
    detections = client.advertise(Detection2DArray, "/detections", 10, readers=0)
    node = graph.start(
        NODE, source=photographs, loop=False, lossless=True, rate=2.0, wait_for_subscriber=True
    )
    for number in range(3):
        wait_until(lambda number=number: len(images) > number, what="the next image")
        wait_until(lambda: detections.get_subscription_count(), what="the node")
        assert len(images) == number + 1, "no image before the last one's detections"
        header = images[number].header
        # An answer to another image is none.
        detections.publish(Detection2DArray())
        detections.publish(Detection2DArray(header=header))
    wait_until(lambda: node.poll() is not None, what="the end of the process")
    np.testing.assert_allclose(np.diff([seconds(i) for i in images]), 0.5, atol=1e-6)


def test_other_nodes_and_users_see_no_password_of_the_source(graph):
    node = graph.start(NODE, source="rtsp://admin:geheim@127.0.0.1:1/live")
    request = GetParameters.Request(names=["source"])
    answer = graph.client().call(GetParameters, "/image_source/get_parameters", request)
    assert answer.values[0].string_value == "rtsp://***@127.0.0.1:1/live"
    assert b"geheim" not in Path(f"/proc/{node.pid}/cmdline").read_bytes()
    wait_until(lambda: "Retrying" in graph.output(node), what="a message about the stream")
    assert "geheim" not in graph.output(node)
