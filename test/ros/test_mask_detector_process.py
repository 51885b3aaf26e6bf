# SPDX-License-Identifier: Apache-2.0
"""The life of the detector node: start, states, signals, a second node of the same name."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from detector_client import (
    busy_image,
    change_state,
    make_image,
    set_parameter,
    state,
)
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from rcl_interfaces.srv import GetParameters
from waiting import LIMIT, wait_until


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"min_face_size": 5}, "min_face_size must be an integer from 12 to 2000"),
        ({"min_face_size": "abc"}, "min_face_size must be an integer from 12 to 2000"),
        ({"backend": "caffe"}, "backend must be one of auto, onnxruntime, openvino"),
        ({"margin": 1000.0}, "margin must be a number from -1 to 2"),
        ({"classifier_model": "/nowhere/model.onnx"}, "cannot read /nowhere/model.onnx"),
        ({"detector_model": "yolo"}, "nor one of: mtcnn_masked, mtcnn"),
        ({"use_sim_time": 1}, "use_sim_time must be true or false, got '1'"),
        ({"cameras": "a-b"}, "cameras must be names of letters, digits, _ and /"),
        ({"cameras": "a,b", "camera_topics": "c"}, "camera_topics has 1 topic for 2 cameras"),
        ({"cameras": "a,a"}, "cameras gives /a/image_raw to two cameras; give each its own"),
        ({"cameras": "a,/a"}, "cameras gives /a/image_raw to two cameras"),
        ({"cameras": "a,b", "camera_topics": "c,/c"}, "camera_topics gives /c to two cameras"),
        ({"cameras": "a,b", "depth_topics": "c,c"}, "depth_topics gives /c to two cameras"),
        (
            {"camera_topics": "mask_detector/image_private"},
            "/mask_detector/image_private is a result of this node",
        ),
        (
            {"qos_overrides./mask_detector/faces.publisher.reliability": "besteffort"},
            "the QoS of ~/faces cannot be overridden: Unexpected QoS override",
        ),
    ],
)
def test_a_wrong_start_ends_with_the_reason(
    graph: Any, parameters: dict[str, Any], reason: str
) -> None:
    process = graph.start("mask_detector_node", **parameters)
    assert process.wait(LIMIT) == 1
    assert reason in graph.output(process)
    assert "Traceback" not in graph.output(process)


def test_a_parameter_file_reaches_the_node_in_any_namespace_and_unknown_names_are_told(
    graph: Any, tmp_path: Path
) -> None:
    path = tmp_path / "parameters.yaml"
    parameters = {"min_face": 40, "image_timeout": 77.5, "cameras": ["front", "left/rear"]}
    path.write_text(yaml.safe_dump({"/**/mask_detector": {"ros__parameters": parameters}}))
    for namespace in ("/", "/robot/head"):
        process = graph.start(
            *("mask_detector_node", "-r", f"__ns:={namespace}", "--params-file", str(path)),
            autostart=False,
        )
        graph.wait_for_output(process, "min_face is ignored; did you mean min_face_size?")
        service = f"{namespace.rstrip('/')}/mask_detector/get_parameters"
        request = GetParameters.Request(names=["image_timeout", "cameras"])
        values = graph.client().call(GetParameters, service, request).values
        assert values[0].double_value == 77.5
        assert list(values[1].string_array_value) == ["front", "left/rear"]
        assert graph.end(process) == 0


def test_without_autostart_a_manager_can_correct_a_wrong_model(graph: Any) -> None:
    process = graph.start("mask_detector_node", autostart=False, classifier_model="/nowhere.onnx")
    client = graph.client()
    assert state(client) == "unconfigured"
    assert not change_state(client, Transition.TRANSITION_CONFIGURE)
    assert "cannot read /nowhere.onnx" in graph.output(process)
    assert state(client) == "unconfigured"
    assert set_parameter(client, "classifier_model", string_value="mask_classifier").successful
    assert change_state(client, Transition.TRANSITION_CONFIGURE)
    assert state(client) == "inactive"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("busy", [False, True])
def test_a_signal_ends_the_process_well(
    graph: Any, active_detector: Any, how: signal.Signals, busy: bool
) -> None:
    process, client, images, _ = active_detector
    if busy:
        status = client.listen(DiagnosticArray, "/diagnostics")
        wait_until(lambda: images.publish(busy_image()) or status, what="the node at work")
    process.send_signal(how)
    code = process.wait(LIMIT)
    output = graph.output(process)
    assert code == 0, output
    assert "Traceback" not in output
    assert "terminate called" not in output


def test_two_nodes_of_one_name_are_reported(graph: Any, active_detector: Any) -> None:
    second = graph.start("mask_detector_node")
    graph.wait_for_output(second, "2 nodes are called /mask_detector")
    graph.wait_for_output(active_detector[0], "2 nodes are called /mask_detector")


def test_lifecycle_cycles_leak_no_threads_and_no_models(active_detector: Any) -> None:
    process, client, images, detections = active_detector

    def threads() -> int:
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"Threads:\s+(\d+)", status.read()).group(1))

    def cycle() -> None:
        for transition in (
            Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP,
            Transition.TRANSITION_CONFIGURE,
            Transition.TRANSITION_ACTIVATE,
        ):
            assert change_state(client, transition)

    cycle()
    before = threads()
    for _ in range(10):
        cycle()
    wait_until(lambda: threads() <= before, what="the threads to end")
    black = make_image(np.zeros((48, 64, 3), np.uint8))
    wait_until(lambda: images.publish(black) or detections)


def test_nothing_comes_from_a_deactivated_node(graph: Any, active_detector: Any) -> None:
    _, client, images, detections = active_detector
    black = make_image(np.zeros((48, 64, 3), np.uint8))
    images.publish(busy_image())
    assert change_state(client, Transition.TRANSITION_DEACTIVATE)
    assert state(client) == "inactive"
    wait_until(lambda: images.get_subscription_count() == 0, what="the subscription to go")
    # The first image may have been finished before; test_stuck_frames.py has one that is not.
    detections.clear()
    images.publish(black)
    assert change_state(client, Transition.TRANSITION_CLEANUP), "waits for the frame in work"
    assert detections == []
    assert change_state(client, Transition.TRANSITION_CONFIGURE)
    assert change_state(client, Transition.TRANSITION_ACTIVATE)
    wait_until(lambda: images.publish(black) or detections, what="detections after a restart")
