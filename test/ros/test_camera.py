# SPDX-License-Identifier: Apache-2.0
"""The node over a sequence of a camera's images: people, alerts, privacy, QoS, cameras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml
from waiting import wait_until

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from detector_client import NODE, drain, make_image, set_parameter
from diagnostic_msgs.msg import DiagnosticArray
from mask_detector_ros.msg import FaceArray, MaskAlert, MaskSummary
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray, LabelInfo

from benchmark.processes import happens


def play(images: Any, picture: np.ndarray, heard: list[Any], count: int, start: float) -> None:
    """Publish one image `count` times, 0.1 s apart by its stamps, each after the result of the
    last.

    A message can be lost between two processes: it is sent again. Stamps that come twice do no
    harm.
    """
    for i in range(count):
        nanoseconds = round(1e9 * (start + i / 10))
        message = make_image(picture, sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)

        def arrives_when_sent(message: Image = message) -> Any:
            images.publish(message)
            return happens(lambda: heard and heard[-1].header.stamp == message.header.stamp, 2.0)

        wait_until(arrives_when_sent, what=f"image {i}")


def test_people_keep_their_ids_grow_older_and_are_counted_until_a_reset(
    active_detector: Any, portrait: np.ndarray
) -> None:
    _, client, images, detections = active_detector
    faces = client.listen(FaceArray, f"{NODE}/faces")
    summaries = client.listen(MaskSummary, f"{NODE}/summary")
    wait_until(lambda: client.node.count_publishers(f"{NODE}/summary"))
    wait_until(lambda: images.publish(make_image(portrait)) or (faces and summaries))
    drain(images, detections, make_image(portrait))
    play(images, portrait, summaries, 8, start=100.0)
    wait_until(lambda: faces[-1].header == summaries[-1].header and detections)
    first = detections[0].detections[0].id
    assert first
    assert {m.detections[0].id for m in detections} == {first}
    assert faces[-1].faces[0].track_id == first
    age = faces[-1].faces[0].track_age
    assert age.sec + age.nanosec / 1e9 == pytest.approx(0.7, abs=1e-6)
    people = dict(zip(summaries[-1].label_names, summaries[-1].unique_people, strict=True))
    assert people == {"with_mask": 0, "without_mask": 1, "mask_worn_incorrectly": 0}

    assert client.call(Trigger, f"{NODE}/reset", Trigger.Request()).success
    play(images, portrait, summaries, 1, start=101.0)
    assert sum(summaries[-1].unique_people) == 0
    wait_until(lambda: detections[-1].header == summaries[-1].header)
    assert detections[-1].detections[0].id != first


def test_without_tracking_there_are_no_ids(active_detector: Any, portrait: np.ndarray) -> None:
    _, client, images, detections = active_detector
    assert set_parameter(client, "tracking", bool_value=False).successful
    play(images, portrait, detections, 2, start=100.0)
    assert detections[-1].detections[0].id == ""


def test_a_person_without_a_mask_is_reported_once(
    active_detector: Any, portrait: np.ndarray
) -> None:
    _, client, images, detections = active_detector
    alerts = client.listen(MaskAlert, f"{NODE}/alerts")
    wait_until(lambda: client.node.count_publishers(f"{NODE}/alerts"))
    assert set_parameter(client, "alert_after", double_value=1.0).successful
    play(images, portrait, detections, 25, start=100.0)
    wait_until(lambda: alerts, what="an alert")
    (alert,) = alerts
    assert alert.label == "without_mask"
    assert alert.track_id == detections[-1].detections[0].id
    assert alert.header.stamp.sec == 101
    assert 1.0 <= alert.duration.sec + alert.duration.nanosec / 1e9 < 1.2
    assert alert.bbox.center.position.x == pytest.approx(223, abs=15)


def test_alerts_of_a_label_that_the_model_lacks_are_refused(active_detector: Any) -> None:
    result = set_parameter(active_detector[1], "alert_labels", string_value="no_mask")
    assert not result.successful
    assert "alert_labels must be among with_mask, without_mask" in result.reason


@pytest.mark.parametrize("privacy", ["blur", "pixelate"])
def test_faces_are_hidden_from_the_next_image_on(
    active_detector: Any, portrait: np.ndarray, privacy: str
) -> None:
    _, client, images, _ = active_detector
    drawings = client.listen(Image, f"{NODE}/image_annotated")
    wait_until(lambda: images.publish(make_image(portrait)) or drawings)

    def change() -> float:
        drawing = np.asarray(drawings[-1].data, np.uint8).reshape(*portrait.shape).astype(int)
        # Inside the box, below the tag, between landmarks: the smile.
        return float(np.abs(drawing - portrait)[132:150, 206:241].mean())

    assert change() < 3
    assert set_parameter(client, "privacy", string_value=privacy).successful
    play(images, portrait, drawings, 1, start=100.0)
    assert change() > 10


def test_a_subscription_told_to_be_reliable_stays_so_and_diagnostics_say_why_it_hears_nothing(
    graph: Any,
) -> None:
    process = graph.start("mask_detector_node", image_reliability="reliable", image_timeout=0.5)
    client = graph.client("shy")
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    client.node.create_publisher(Image, "/image_raw", qos)
    status = client.listen(DiagnosticArray, "/diagnostics")
    expected = "published by /shy (sensor_msgs/msg/Image, best_effort); subscribed reliable"
    wait_until(
        lambda: status and expected in status[-1].status[0].message, what="silence and its reason"
    )
    assert status[-1].status[0].level == b"\x01"
    assert status[-1].status[0].name == "mask_detector: frames"
    assert status[-1].status[0].hardware_id == "/image_raw"
    assert "subscribed to /image_raw, best_effort" not in graph.output(process)


def test_qos_overrides_of_results_are_obeyed(graph: Any) -> None:
    override = "qos_overrides./mask_detector/detections.publisher.reliability"
    graph.start("mask_detector_node", **{override: "best_effort"})
    client = graph.client()

    def offered() -> Any:
        infos = client.node.get_publishers_info_by_topic(f"{NODE}/detections")
        return infos and infos[0].qos_profile.reliability

    assert wait_until(offered) == ReliabilityPolicy.BEST_EFFORT


def test_several_cameras_share_a_node_and_none_starves(graph: Any, portrait: np.ndarray) -> None:
    graph.start("mask_detector_node", threads=1, cameras="front, rear")
    client = graph.client()
    front = client.listen(Detection2DArray, "/front/mask_detector/detections", 100)
    rear = client.listen(Detection2DArray, "/rear/mask_detector/detections", 100)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    labels = client.listen(LabelInfo, "/rear/mask_detector/label_info", latched)
    status = client.listen(DiagnosticArray, "/diagnostics")
    busy = client.advertise(Image, "/front/image_raw")
    calm = client.advertise(Image, "/rear/image_raw")
    black = make_image(np.zeros((48, 64, 3), np.uint8))
    wait_until(lambda: calm.publish(black) or rear, what="the calm camera's results")
    wait_until(lambda: busy.publish(black) or front, what="the busy camera's results")
    drain(calm, rear)

    # The busy one sends as fast as it can; the calm one still gets each of its images through.
    for second in range(10, 15):
        calm.publish(make_image(portrait, sec=second))
        wait_until(
            lambda second=second: (
                busy.publish(black) or any(m.header.stamp.sec == second for m in rear)
            ),
            what=f"image {second} of the calm camera",
        )
    assert {len(m.detections) for m in rear} == {1}
    assert {len(m.detections) for m in front} == {0}
    assert len({m.detections[0].id for m in rear}) >= 1
    assert labels
    wait_until(lambda: status)
    names = [s.name for s in status[-1].status]
    assert names == ["mask_detector: front: frames", "mask_detector: rear: frames"]


def test_simulated_time_may_stand_still_or_jump(graph: Any, portrait: np.ndarray) -> None:
    graph.start("mask_detector_node", threads=1, use_sim_time=True)
    client = graph.client()
    clock = client.advertise(Clock, "/clock", 1)
    # Without any /clock the node must find its publisher and report.
    status = client.listen(DiagnosticArray, "/diagnostics")
    summaries = client.listen(MaskSummary, f"{NODE}/summary")
    images = client.advertise(Image, "/image_raw")
    wait_until(lambda: images.publish(make_image(portrait)) or summaries, what="a result")
    wait_until(lambda: status and status[-1].header.stamp.sec == 0, what="diagnostics")

    def latency(now: int, taken: int) -> Callable[[], bool]:
        def is_right() -> bool:
            clock.publish(Clock(clock=make_image(portrait, sec=now).header.stamp))
            images.publish(make_image(portrait, sec=taken))
            return bool(summaries) and summaries[-1].latency.sec == now - taken

        return is_right

    wait_until(latency(1000, 998), what="a latency of simulated time")
    wait_until(latency(50, 49), what="the same after the clock jumped back")


def dump(client: Any) -> dict[str, Any]:
    """The output of `ros2 param dump` for a node."""
    listed = client.call(ListParameters, f"{NODE}/list_parameters", ListParameters.Request())
    names = [n for n in listed.result.names if not n.startswith("qos_overrides")]
    request = GetParameters.Request(names=names)
    values = client.call(GetParameters, f"{NODE}/get_parameters", request).values
    return {
        name: Parameter.from_parameter_msg(ParameterMessage(name=name, value=value)).value
        for name, value in zip(names, values, strict=True)
    }


def test_parameters_can_be_dumped_and_loaded_again(graph: Any, tmp_path: Any) -> None:
    first = graph.start("mask_detector_node", threads=1, min_face_size=33, privacy="blur")
    client = graph.client()
    graph.wait_for_output(first, "models loaded")
    assert set_parameter(client, "smoothing", double_value=2.5).successful
    values = dump(client)
    plain = {k: list(v) if hasattr(v, "typecode") else v for k, v in values.items()}
    # `ros2 param load` sets everything on the running node, what is fixed as well.
    everything = [Parameter(k, value=v).to_parameter_msg() for k, v in plain.items()]
    request = SetParameters.Request(parameters=everything)
    results = client.call(SetParameters, f"{NODE}/set_parameters", request).results
    refused = [r.reason for r in results if not r.successful]
    assert all("read-only" in reason for reason in refused), "rclpy's own, not ours"
    assert len(refused) <= 1
    assert graph.end(first) == 0

    path = tmp_path / "dump.yaml"
    path.write_text(yaml.safe_dump({NODE: {"ros__parameters": plain}}))
    second = graph.start("mask_detector_node", "--params-file", str(path))
    graph.wait_for_output(second, "models loaded")
    again = graph.client("again")
    assert dump(again) == values
    assert (values["min_face_size"], values["privacy"]) == (33, "blur")
    assert values["smoothing"] == 2.5


def test_no_picture_is_ever_written_to_disk(
    graph: Any, portrait: np.ndarray, tmp_path: Any
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    graph.environment |= {"HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    graph.folder = tmp_path
    process = graph.start("mask_detector_node", threads=1)
    client = graph.client()
    drawings = client.listen(Image, f"{NODE}/image_annotated")
    images = client.advertise(Image, "/image_raw")
    wait_until(lambda: images.publish(make_image(portrait)) or drawings)

    def written() -> int:
        with open(f"/proc/{process.pid}/io", encoding="ascii") as counters:
            return next(int(row.split()[1]) for row in counters if row.startswith("write_bytes"))

    before = written()
    play(images, portrait, drawings, 20, start=100.0)
    assert written() - before < portrait.nbytes / 4, "for 20 pictures, the log included"
    assert [p for p in home.rglob("*") if p.is_file()] == []
