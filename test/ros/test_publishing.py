# SPDX-License-Identifier: Apache-2.0
"""Messages that DDS does not send are lost with a warning; other errors are raised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

import rclpy
from rclpy.context import Context
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from mask_detector_ros.ros.publishing import warn_if_unsent


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
    context = Context()
    rclpy.init(context=context)
    node = Node("sender", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


def test_what_cannot_be_sent_is_lost_with_a_warning(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        with warn_if_unsent(node):
            raise rclpy_implementation.RCLError("cannot publish data")
    written = "".join(capfd.readouterr())
    assert written.count("a message is lost (cannot publish data)") == 1


def test_nothing_is_said_after_a_shutdown(node: Node, capfd: pytest.CaptureFixture[str]) -> None:
    node.context.try_shutdown()
    with warn_if_unsent(node):
        raise rclpy_implementation.RCLError("the context is shut down")
    assert "lost" not in "".join(capfd.readouterr())


def test_other_errors_are_not_hidden(node: Node) -> None:
    with pytest.raises(ValueError, match="wrong"), warn_if_unsent(node):
        raise ValueError("wrong")
