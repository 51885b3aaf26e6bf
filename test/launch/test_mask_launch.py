# SPDX-License-Identifier: Apache-2.0
"""mask.launch.py: the graph that `ros2 launch` starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("ros2launch", reason="ros2launch is not installed; a full ROS 2 has it")
pytest.importorskip("launch_ros", reason="launch_ros is not installed; a full ROS 2 has it")
pytest.importorskip("vision_msgs", reason="the messages are not built; run make test")

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from running_launch import DOMAIN_ID, RunningLaunch, is_installed
from vision_msgs.msg import Detection2DArray

needs_installed_package = pytest.mark.skipif(
    not is_installed("mask_detector_ros"),
    reason="the package is not installed in this ROS; build it with colcon and source it",
)


class Observer(Node):
    """A node outside the launched graph that inspects it from the test's thread."""

    def __init__(self, context: Context) -> None:
        super().__init__("observer", context=context)
        self._single_executor = SingleThreadedExecutor(context=context)
        self._single_executor.add_node(self)

    def spin_once(self) -> None:
        self._single_executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self._single_executor.shutdown()
        self.destroy_node()


@pytest.fixture
def observer(start_launch: Callable[..., RunningLaunch]) -> Iterator[Observer]:
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN_ID)
    node = Observer(context)
    yield node
    node.close()
    context.try_shutdown()


def lifecycle_state(running: RunningLaunch, observer: Observer, node_name: str) -> int:
    client = observer.create_client(GetState, f"{node_name}/get_state")
    running.wait_until(client.service_is_ready, observer.spin_once)
    future = client.call_async(GetState.Request())
    running.wait_until(future.done, observer.spin_once)
    return future.result().current_state.id


@needs_installed_package
def test_each_camera_can_have_a_topic_of_its_own(
    start_launch: Callable[..., RunningLaunch], observer: Observer
) -> None:
    running = start_launch(
        *("mask_detector_ros", "mask.launch.py", "camera:=none", "image_transport:=raw"),
        *("cameras:=front,left/rear", "image:=color,/rear/image", "namespace:=robot"),
    )
    topics = ("/robot/front/color", "/rear/image")
    running.wait_until(
        lambda: all(observer.count_subscribers(topic) for topic in topics), observer.spin_once
    )
    detections = ("/robot/front", "/robot/left/rear")
    running.wait_until(
        lambda: all(
            observer.count_publishers(f"{place}/mask_detector/detections") for place in detections
        ),
        observer.spin_once,
    )


@needs_installed_package
def test_the_sample_scene_is_detected_in_a_namespace_and_the_nodes_end_cleanly(
    start_launch: Callable[..., RunningLaunch], observer: Observer
) -> None:
    detections: list[Detection2DArray] = []
    observer.create_subscription(
        Detection2DArray, "/front/mask_detector/detections", detections.append, 10
    )
    running = start_launch(
        *("mask_detector_ros", "mask.launch.py"),
        *("camera:=source", "source:=sample", "namespace:=front"),
    )
    running.wait_until(
        lambda: any(message.detections for message in detections), observer.spin_once
    )

    running.stop()

    assert running.output.count("process has finished cleanly") == 2, running.output
    assert "Traceback" not in running.output, running.output


@needs_installed_package
@pytest.mark.parametrize(("detectors", "processes"), [("one", 3), ("each", 4)])
def test_several_cameras_have_the_same_topics_with_one_detector_and_with_one_each(
    start_launch: Callable[..., RunningLaunch],
    observer: Observer,
    detectors: str,
    processes: int,
) -> None:
    heard: dict[str, list[Detection2DArray]] = {"front": [], "rear": []}
    for name, messages in heard.items():
        topic = f"/{name}/mask_detector/detections"
        observer.create_subscription(Detection2DArray, topic, messages.append, 10)
    running = start_launch(
        *("mask_detector_ros", "mask.launch.py", "camera:=source", "source:=sample"),
        *("cameras:=front,rear", f"detectors:={detectors}"),
    )
    running.wait_until(lambda: all(heard.values()), observer.spin_once)
    assert running.output.count("process started") == processes


@needs_installed_package
def test_the_detector_goes_on_when_the_camera_ends(
    start_launch: Callable[..., RunningLaunch], observer: Observer
) -> None:
    running = start_launch("mask_detector_ros", "mask.launch.py", "camera:=source")
    running.wait_until(lambda: observer.count_publishers("/image_raw") > 0, observer.spin_once)

    os.kill(running.pid_of("image_source"), signal.SIGTERM)
    running.wait_until(
        lambda: "[image_source-2]: process has " in running.output, observer.spin_once
    )

    running.wait_until(
        lambda: lifecycle_state(running, observer, "/mask_detector") == State.PRIMARY_STATE_ACTIVE,
        observer.spin_once,
    )


@needs_installed_package
def test_an_argument_left_out_leaves_the_parameter_to_the_params_file(
    start_launch: Callable[..., RunningLaunch], observer: Observer, tmp_path: Path
) -> None:
    params_file = tmp_path / "params.yaml"
    params_file.write_text("/**:\n  ros__parameters:\n    autostart: false\n")
    running = start_launch(
        "mask_detector_ros", "mask.launch.py", "camera:=none", f"params_file:={params_file}"
    )
    state = lifecycle_state(running, observer, "/mask_detector")
    assert state == State.PRIMARY_STATE_UNCONFIGURED
    assert running.output.count("process started") == 1


@needs_installed_package
def test_an_argument_given_wins_over_the_params_file(
    start_launch: Callable[..., RunningLaunch], observer: Observer, tmp_path: Path
) -> None:
    params_file = tmp_path / "params.yaml"
    params_file.write_text("/**:\n  ros__parameters:\n    autostart: false\n")
    running = start_launch(
        *("mask_detector_ros", "mask.launch.py"),
        *("camera:=none", f"params_file:={params_file}", "autostart:=true"),
    )
    running.wait_until(
        lambda: lifecycle_state(running, observer, "/mask_detector") == State.PRIMARY_STATE_ACTIVE,
        observer.spin_once,
    )
