# SPDX-License-Identifier: Apache-2.0
"""The node under Nav2's lifecycle manager, whose calls a client makes here, with `bond_timeout: 0`.

The manager calls `change_state` and then asks `get_state` for the state that it expects. Without a
bond timeout it waits for no bond (nav2_lifecycle_manager, `changeStateForNode`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from detector_client import change_state, make_image, state
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray
from waiting import wait_until

STATES = {
    Transition.TRANSITION_CONFIGURE: "inactive",
    Transition.TRANSITION_ACTIVATE: "active",
    Transition.TRANSITION_DEACTIVATE: "inactive",
    Transition.TRANSITION_CLEANUP: "unconfigured",
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: "finalized",
}
STARTUP = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
PAUSE, RESUME = (Transition.TRANSITION_DEACTIVATE,), (Transition.TRANSITION_ACTIVATE,)
RESET = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
SHUTDOWN = (*RESET, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)


def manage(client: Any, transitions: tuple[int, ...]) -> None:
    for transition in transitions:
        assert change_state(client, transition)
        assert state(client) == STATES[transition]


def test_a_manager_starts_pauses_resets_and_shuts_down(graph: Any) -> None:
    process = graph.start("mask_detector_node", autostart=False, threads=1)
    client = graph.client()
    detections = client.listen(Detection2DArray, "/mask_detector/detections")
    assert state(client) == "unconfigured"
    manage(client, STARTUP)
    images = client.advertise(Image, "/image_raw", 10)
    black = make_image(np.zeros((48, 64, 3), np.uint8))
    wait_until(lambda: images.publish(black) or detections, what="detections")
    for down, up in ((PAUSE, RESUME), (RESET, STARTUP)):
        manage(client, down)
        detections.clear()
        manage(client, up)
        wait_until(lambda: images.publish(black) or detections, what="detections")
    manage(client, SHUTDOWN)
    assert graph.end(process) == 0
