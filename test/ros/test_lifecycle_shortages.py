# SPDX-License-Identifier: Apache-2.0
"""A shortage at any call of a lifecycle step is a clean error that leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

import rclpy
from detector_client import make_image
from fault_injection import SHORTAGES, fail_at
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.logging import LoggingSeverity
from rclpy.qos import ReliabilityPolicy
from ros_domains import reserve_domain
from sensor_msgs.msg import Image
from waiting import wait_until

from mask_detector_ros.ros.camera import Arrival
from mask_detector_ros.ros.latency_breakdown import LatencyBreakdown
from mask_detector_ros.ros.mask_detector_node import MaskDetectorNode

MAKERS = list(SHORTAGES.values())
PREPARATION = {
    "configure": (),
    "activate": ("configure",),
    "deactivate": ("configure", "activate"),
    "cleanup": ("configure",),
    "shutdown": ("configure", "activate"),
}
FIRST, LAST, STEP = 8, 12, 150
SHUTDOWN_CALLS = 10
"""Each of the first and of the last calls of a step fails, and some between, which load models."""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MaskDetectorNode]:
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
    arguments = ["-p", "threads:=1", "-p", "autostart:=false"]
    domain, lock = reserve_domain()
    rclpy.init(args=["--ros-args", *arguments], domain_id=domain)
    node = MaskDetectorNode()
    # Not by `--log-level`, which sets the level of the whole process for all later tests.
    node.get_logger().set_level(LoggingSeverity.FATAL)
    yield node
    node.get_logger().set_level(LoggingSeverity.UNSET)
    node.close()
    rclpy.shutdown()
    lock.close()


def step(node: MaskDetectorNode, name: str) -> Any:
    return getattr(node, f"trigger_{name}")()


def state(node: MaskDetectorNode) -> str:
    return str(node._state_machine.current_state[1])


def take_down(node: MaskDetectorNode) -> None:
    for name, above in (("deactivate", "active"), ("cleanup", "inactive")):
        if state(node) == above:
            assert step(node, name) == TransitionCallbackReturn.SUCCESS
    assert state(node) == "unconfigured"


def belongings(node: MaskDetectorNode) -> tuple[int, ...]:
    parts = (node.publishers, node.subscriptions, node.timers, node.services)
    kept = (node._worker, node._detector, *node._cameras)
    return (*(sum(1 for _ in part) for part in parts), sum(k is not None for k in kept))


def prepare(node: MaskDetectorNode, name: str) -> None:
    take_down(node)
    for earlier in PREPARATION[name]:
        assert step(node, earlier) == TransitionCallbackReturn.SUCCESS


def shortage(number: int) -> Exception:
    """The kinds of shortages in turn."""
    return MAKERS[number % len(MAKERS)]()


def wanted(total: int) -> list[int]:
    last = max(FIRST, total - LAST)
    return [*range(1, min(FIRST, total)), *range(FIRST, last, STEP), *range(last, total + 1)]


@pytest.mark.parametrize("name", PREPARATION)
def test_a_shortage_in_a_lifecycle_step_leaves_nothing_behind(
    node: MaskDetectorNode, name: str
) -> None:
    for _ in range(2):  # the first time fills caches
        prepare(node, "deactivate")
        process(node)
        take_down(node)
    before = belongings(node)
    total = SHUTDOWN_CALLS
    if name != "shutdown":  # from which no node comes back
        prepare(node, name)
        total = fail_at(10**6, MemoryError(), lambda: step(node, name))
    assert total > 4
    for number in wanted(total):
        prepare(node, name)
        outcomes: list[Any] = []
        fail_at(number, shortage(number), lambda: outcomes.append(step(node, name)))  # noqa: B023
        assert outcomes == [TransitionCallbackReturn.ERROR]
        assert state(node) == "unconfigured"
        assert belongings(node) == before, f"left behind by a failure at call {number}"
    prepare(node, "deactivate")
    process(node)


def process(node: MaskDetectorNode) -> None:
    """Process an image of the only camera, in this thread."""
    (camera,) = node._cameras
    message = make_image(np.zeros((48, 64, 3), np.uint8))
    before = camera.statistics.processed
    node._process(camera, Arrival(message, LatencyBreakdown(0, "")))
    assert camera.statistics.processed == before + 1


def test_a_shortage_in_a_frame_costs_that_frame(node: MaskDetectorNode) -> None:
    prepare(node, "deactivate")
    process(node)
    (camera,) = node._cameras
    message = make_image(np.zeros((48, 64, 3), np.uint8))
    number, calls = 1, 1
    while calls == number:
        number += 1  # the first call is the one that catches the error
        arrival = Arrival(message, LatencyBreakdown(0, ""))
        failed = camera.statistics.failed.count
        calls = fail_at(number, shortage(number), lambda: node._process(camera, arrival))  # noqa: B023
        if calls < number:
            break
        assert camera.statistics.failed.count == failed + 1
        process(node)


def test_a_shortage_in_a_timer_does_not_make_the_node_deaf(node: MaskDetectorNode) -> None:
    """A subscription that fails to change keeps the old one, and the next check changes it."""
    prepare(node, "deactivate")
    subscription = node._cameras[0]._subscription
    assert subscription is not None
    publisher = node.create_publisher(Image, "image_raw", 1)
    wait_until(lambda: node.count_publishers("image_raw"))
    assert subscription._choice.reliability == ReliabilityPolicy.BEST_EFFORT
    number = 1
    while True:
        before = subscription._choice
        try:
            if fail_at(number, shortage(number), subscription._match) < number:
                break
        except (MemoryError, OSError, RuntimeError):
            assert subscription._choice == before
            assert sum(1 for _ in node.subscriptions) == 1
        number += 1
    assert number > 3
    assert subscription._choice.reliability == ReliabilityPolicy.RELIABLE
    assert sum(1 for _ in node.subscriptions) == 1
    node.destroy_publisher(publisher)


def test_a_shortage_is_one_line_in_the_log(
    node: MaskDetectorNode, capfd: pytest.CaptureFixture[str]
) -> None:
    node.get_logger().set_level(LoggingSeverity.INFO)
    fail_at(3, SHORTAGES["disk"](), lambda: step(node, "configure"))
    told = capfd.readouterr().err
    assert "configure failed: the disk is full; free some space (" in told
    assert "Traceback" not in told
