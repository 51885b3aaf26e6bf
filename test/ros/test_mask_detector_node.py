# SPDX-License-Identifier: Apache-2.0
"""The detector node over DDS, used by a client that knows nothing of its code."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from waiting import wait_until

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from detector_client import NODE, busy_image, drain, make_image, set_parameter, state
from diagnostic_msgs.msg import DiagnosticArray
from mask_detector_ros.msg import FaceArray, MaskSummary
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray, LabelInfo


@pytest.mark.parametrize(
    ("sec", "nanosec", "frame_id"),
    [
        (1700000000, 123456789, "camera"),
        (0, 0, ""),
        (-5, 7, "Kamera/ä"),
        (2**31 - 1, 999999999, "x"),
    ],
)
def test_every_result_carries_the_images_header(
    active_detector: Any, sec: int, nanosec: int, frame_id: str, portrait: np.ndarray
) -> None:
    _, client, images, detections = active_detector
    faces = client.listen(FaceArray, f"{NODE}/faces")
    summaries = client.listen(MaskSummary, f"{NODE}/summary")
    drawings = client.listen(Image, f"{NODE}/image_annotated")
    jpegs = client.listen(CompressedImage, f"{NODE}/image_annotated/compressed")
    message = make_image(portrait, sec=sec, nanosec=nanosec)
    message.header.frame_id = frame_id
    heard = (faces, summaries, drawings, jpegs)
    wait_until(lambda: images.publish(message) or all(heard), what="all results")
    for result in (detections[-1], detections[-1].detections[0], *(h[-1] for h in heard)):
        assert result.header == message.header
    assert (drawings[-1].height, drawings[-1].width) == portrait.shape[:2]
    assert cv2.imdecode(np.asarray(jpegs[-1].data, np.uint8), 1).shape == portrait.shape
    assert sum(summaries[-1].counts) == len(faces[-1].faces) == 1


def test_a_face_becomes_a_detection_in_source_pixels(
    active_detector: Any, portrait: np.ndarray
) -> None:
    _, _, images, detections = active_detector
    wait_until(lambda: images.publish(make_image(portrait)) or detections)
    (detection,) = detections[0].detections
    centre = detection.bbox.center.position
    assert math.dist((centre.x, centre.y), (223, 116)) < 15
    assert 70 < detection.bbox.size_x < 120
    best = detection.results[0].hypothesis
    assert best.class_id == "without_mask"
    assert 0.5 < best.score <= 1
    assert sum(r.hypothesis.score for r in detection.results) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (4, 20000), (20000, 4), (480, 640), (61, 83)])
@pytest.mark.parametrize("value", [0, 255])
def test_an_image_without_faces_gives_an_empty_array(
    active_detector: Any, shape: tuple[int, int], value: int
) -> None:
    _, _, images, detections = active_detector
    images.publish(make_image(np.full((*shape, 3), value, np.uint8), sec=42))
    # On a busy machine a result of the fixture's images may still come first.
    wait_until(
        lambda: detections and detections[-1].header.stamp.sec == 42, what="an array for the image"
    )
    assert detections[-1].detections == []


def test_bad_frames_are_counted_and_do_not_stop_the_node(graph: Any, active_detector: Any) -> None:
    process, client, images, detections = active_detector
    good = np.zeros((48, 64, 3), np.uint8)
    unknown, short, stepped = make_image(good, "yuv999"), make_image(good), make_image(good)
    short.data.pop()
    stepped.step = 7
    bad = [
        unknown,
        short,
        stepped,
        make_image(np.zeros((0, 0, 3), np.uint8)),
        make_image(np.full((48, 64), np.nan, np.float32), "32FC1"),
        make_image(good, encoding=""),
    ]
    status = client.listen(DiagnosticArray, "/diagnostics")

    def refused() -> int:
        values = {v.key: v.value for s in status[-1:] for v in s.status[0].values}
        return int(values.get("frames rejected", 0))

    for count, message in enumerate(bad, start=1):
        images.publish(message)
        wait_until(lambda count=count: refused() >= count, what=f"refusal {count}")
    assert refused() == len(bad)
    assert "yuv999" in graph.output(process)
    assert status[-1].status[0].level == b"\x01"
    assert detections == []
    images.publish(make_image(good, sec=99))
    wait_until(lambda: detections, what="detections after the bad frames")
    assert detections[0].header.stamp.sec == 99
    assert process.poll() is None


def test_parameters_and_state_answer_while_a_frame_is_processed(active_detector: Any) -> None:
    _, client, images, detections = active_detector
    request = GetParameters.Request(names=["min_face_size"])

    def answers_come_first() -> bool:
        detections.clear()
        images.publish(busy_image())
        answer = client.call(GetParameters, f"{NODE}/get_parameters", request)
        assert answer.values[0].integer_value == 20
        assert state(client) == "active"
        first = not detections
        wait_until(lambda: detections, timeout=120)
        return first

    # On a busy machine the test itself may be the slower one.
    assert any(answers_come_first() for _ in range(5))


def test_labels_reach_a_late_joiner(graph: Any, active_detector: Any) -> None:
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    infos = graph.client("late").listen(LabelInfo, f"{NODE}/label_info", qos)
    wait_until(lambda: infos, what="the latched label info")
    names = [c.class_name for c in infos[0].class_map]
    assert names == ["with_mask", "without_mask", "mask_worn_incorrectly"]
    assert [c.class_id for c in infos[0].class_map] == [0, 1, 2]


def test_a_live_parameter_takes_effect_on_the_next_frame(
    active_detector: Any, portrait: np.ndarray
) -> None:
    _, client, images, detections = active_detector
    wait_until(lambda: images.publish(make_image(portrait)) or detections)
    assert len(detections[0].detections) == 1
    assert set_parameter(client, "min_face_size", integer_value=300).successful
    drain(images, detections)
    images.publish(make_image(portrait, sec=5))
    wait_until(lambda: detections)
    assert detections[0].detections == []


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("min_face_size", {"integer_value": 3}, "12"),
        ("min_face_size", {"string_value": "big"}, "integer from 12 to 2000"),
        ("detection_thresholds", {"double_array_value": [0.5, 0.6]}, "3 numbers"),
        ("detection_thresholds", {"double_array_value": [0.5, 0.6, math.nan]}, "3 numbers"),
        ("pyramid_factor", {"double_value": 1.5}, "0.3"),
        ("backend", {"string_value": "onnxruntime"}, "fixed while the node is configured"),
    ],
)
def test_a_wrong_change_is_refused_with_the_reason(
    active_detector: Any, name: str, value: dict[str, Any], reason: str
) -> None:
    result = set_parameter(active_detector[1], name, **value)
    assert not result.successful
    assert reason in result.reason


def test_silence_is_reported_with_who_publishes(graph: Any) -> None:
    process = graph.start("mask_detector_node", image_timeout=0.5)
    graph.wait_for_output(process, "no image for 1 s on /image_raw; nobody publishes it")
    graph.client("muted").node.create_publisher(Image, "/image_raw", 1)
    graph.wait_for_output(process, "published by /muted (sensor_msgs/msg/Image, reliable)")


def test_a_best_effort_publisher_is_heard(graph: Any) -> None:
    graph.start("mask_detector_node")
    client = graph.client()
    detections = client.listen(Detection2DArray, f"{NODE}/detections")
    images = client.advertise(Image, "/image_raw", qos_profile_sensor_data)
    black = make_image(np.zeros((48, 64, 3), np.uint8))
    wait_until(lambda: images.publish(black) or detections, what="detections")


def test_a_second_publisher_with_less_reliability_does_not_end_the_first(
    graph: Any, active_detector: Any
) -> None:
    process, client, images, detections = active_detector
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    client.node.create_publisher(Image, "/image_raw", qos)
    graph.wait_for_output(process, "subscribed to /image_raw, best_effort")
    black = make_image(np.zeros((48, 64, 3), np.uint8))
    wait_until(lambda: images.publish(black) or detections, what="detections")


def test_compressed_images_are_taken_from_the_remapped_topic(
    graph: Any, portrait: np.ndarray
) -> None:
    graph.start("mask_detector_node", "-r", "image_raw:=/front/image", image_transport="compressed")
    client = graph.client()
    detections = client.listen(Detection2DArray, f"{NODE}/detections")
    images = client.advertise(CompressedImage, "/front/image/compressed")
    message = CompressedImage(format="png")
    message.data.frombytes(cv2.imencode(".png", portrait)[1].tobytes())
    message.header.frame_id = "front"
    wait_until(lambda: images.publish(message) or detections, what="detections")
    assert detections[0].header == message.header
    assert len(detections[0].detections) == 1


def test_every_parameter_can_be_read(active_detector: Any) -> None:
    from mask_detector_ros.ros.node_parameters import NODE_PARAMETERS

    names = [p.name for p in NODE_PARAMETERS]
    request = GetParameters.Request(names=names)
    values = active_detector[1].call(GetParameters, f"{NODE}/get_parameters", request).values
    assert all(v.type != ParameterType.PARAMETER_NOT_SET for v in values)
