# SPDX-License-Identifier: Apache-2.0
"""A frame that gets stuck or fails: the node reports it, responds, and continues."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ros_graph import Graph
from waiting import LIMIT, wait_until

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

import faulty_node
from detector_client import NODE, change_state, drain, make_image, set_parameter, state
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray


def image(width: int) -> Image:
    return stamped(np.zeros((24, width, 3), np.uint8))


def stamped(pixels: np.ndarray) -> Image:
    return make_image(pixels, sec=int(time.time()))


class Faulty:
    """An active node that misbehaves on request, and its client."""

    def __init__(self, graph: Graph, folder: Path, **parameters: Any) -> None:
        self.release = folder / "go on"
        graph.environment["RELEASE"] = str(self.release)
        parameters = {"threads": 1, "frame_timeout": 1.0, **parameters}
        self.process = graph.start(faulty_node.__file__, **parameters)
        self.client = graph.client()
        self.detections = self.client.listen(Detection2DArray, f"{NODE}/detections")
        self.heartbeats = self.client.listen(Header, f"{NODE}/heartbeat")
        self._reports = self.client.listen(DiagnosticArray, "/diagnostics")
        self.images = self.client.advertise(Image, "/image_raw", 10)
        graph.wait_for_output(self.process, "subscribed to /image_raw, reliable")
        self.expect_results()

    def expect_results(self) -> None:
        drain(self.images, self.detections, image(64))

    def wait_for_status(
        self, level: bytes, text: str, meanwhile: Image | None = None
    ) -> DiagnosticStatus:
        def found() -> Any:
            if meanwhile is not None:
                self.images.publish(meanwhile)
            frames = [r.status[0] for r in self._reports if r.status]
            return [s for s in frames if s.level == level and text in s.message]

        self._reports.clear()
        return wait_until(found, what=f"{text!r} in diagnostics")[-1]


@pytest.fixture
def faulty(graph: Graph, tmp_path: Path) -> Faulty:
    return Faulty(graph, tmp_path)


def test_a_stuck_frame_is_an_error_and_the_node_answers_and_goes_on(faulty: Faulty) -> None:
    faulty.images.publish(image(faulty_node.STUCK))
    status = faulty.wait_for_status(DiagnosticStatus.ERROR, "stuck in inference for ")
    assert int(status.message.split()[-2]) >= 1
    assert set_parameter(faulty.client, "min_face_size", integer_value=40).successful
    faulty.heartbeats.clear()
    assert faulty.client.call(Trigger, f"{NODE}/reset", Trigger.Request()).success
    assert faulty.heartbeats == []
    faulty.release.touch()
    faulty.expect_results()
    faulty.wait_for_status(DiagnosticStatus.OK, "running")
    wait_until(lambda: faulty.heartbeats, what="a heartbeat")


def test_deactivate_and_cleanup_do_not_wait_for_a_stuck_frame(graph: Graph, faulty: Faulty) -> None:
    stuck = image(faulty_node.STUCK)
    stuck.header.frame_id = "stuck"
    faulty.images.publish(stuck)
    faulty.wait_for_status(DiagnosticStatus.ERROR, "stuck in inference")
    # The frame is stuck for as long as the test wants; an idle machine answers in 2 s.
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        start = time.monotonic()
        assert change_state(faulty.client, transition)
        assert time.monotonic() - start < LIMIT / 2
    graph.wait_for_output(faulty.process, "left behind")
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert change_state(faulty.client, transition)
    faulty.expect_results()
    # The frame that was left behind ends at last, and nobody hears of it.
    faulty.release.touch()
    faulty.expect_results()
    assert all(d.header.frame_id != "stuck" for d in faulty.detections)
    assert graph.end(faulty.process) == 0
    assert "Traceback" not in graph.output(faulty.process)


def test_a_signal_ends_a_process_whose_frame_is_stuck(graph: Graph, faulty: Faulty) -> None:
    faulty.images.publish(image(faulty_node.STUCK))
    faulty.wait_for_status(DiagnosticStatus.ERROR, "stuck in inference")
    assert graph.end(faulty.process) == 0


def test_the_newest_frame_wins(faulty: Faulty) -> None:
    stuck, old, new = image(faulty_node.STUCK), image(64), image(64)
    stuck.header.frame_id, old.header.frame_id, new.header.frame_id = "stuck", "old", "new"

    def dropped(message: Image) -> int:
        status = faulty.wait_for_status(DiagnosticStatus.ERROR, "stuck in inference", message)
        return int({v.key: v.value for v in status.values}["frames dropped"])

    before = dropped(stuck)
    for message in (old, new):
        # Of those that wait, the last is one of these then.
        before = wait_until(lambda m=message, b=before: (n := dropped(m)) >= b + 5 and n)
    faulty.release.touch()
    wait_until(lambda: [d for d in faulty.detections if d.header.frame_id == "new"])
    assert {d.header.frame_id for d in faulty.detections} == {"stuck", "new"}


def test_a_rate_of_zero_is_not_ok_while_images_arrive(faulty: Faulty) -> None:
    assert change_state(faulty.client, Transition.TRANSITION_DEACTIVATE)
    assert change_state(faulty.client, Transition.TRANSITION_ACTIVATE)
    stuck = image(faulty_node.STUCK)
    status = faulty.wait_for_status(DiagnosticStatus.ERROR, "stuck", stuck)
    values = {v.key: v.value for v in status.values}
    assert values["rate [Hz]"] == "0.0"


@pytest.mark.parametrize(
    ("width", "reason"),
    [
        (faulty_node.FAILING, "RuntimeError: the backend broke down"),
        (faulty_node.OUT_OF_MEMORY, "MemoryError"),
    ],
)
def test_a_failure_costs_its_frame_and_several_are_an_error(
    graph: Graph, faulty: Faulty, width: int, reason: str
) -> None:
    faulty.images.publish(image(width))
    status = faulty.wait_for_status(DiagnosticStatus.WARN, f"a frame failed: {reason}")
    values = {v.key: v.value for v in status.values}
    assert values["frames failed"] == "1"
    text = "frames failed: " + reason
    wait_until(lambda: "frame failed (1 so far)" in graph.output(faulty.process))

    status = faulty.wait_for_status(DiagnosticStatus.ERROR, text, image(width))
    assert "the last" in status.message
    faulty.expect_results()
    assert faulty.process.poll() is None


def test_detection_thresholds_of_zero_end_no_node(graph: Graph, tmp_path: Path) -> None:
    faulty = Faulty(graph, tmp_path, frame_timeout=60.0)
    zeros = set_parameter(faulty.client, "detection_thresholds", double_array_value=[0.0, 0.0, 0.0])
    assert zeros.successful
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    wait_until(lambda: faulty.images.publish(stamped(noise)) or faulty.detections)
    text = "frame over budget: kept 500 of "
    status = faulty.wait_for_status(DiagnosticStatus.WARN, text, stamped(noise))
    assert int({v.key: v.value for v in status.values}["frames over budget"]) >= 1


def test_the_node_recovers_by_itself_where_it_is_told_to(graph: Graph, tmp_path: Path) -> None:
    faulty = Faulty(graph, tmp_path, recover=True, frame_timeout=0.5)
    faulty.images.publish(image(faulty_node.STUCK))
    graph.wait_for_output(faulty.process, "reloading the models (1 of 3")
    faulty.expect_results()
    wait_until(lambda: state(faulty.client) == "active")
    graph.wait_for_output(faulty.process, "left behind")
