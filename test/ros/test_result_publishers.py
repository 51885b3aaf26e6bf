# SPDX-License-Identifier: Apache-2.0
"""The node's other results: annotations, the private image; and its switch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from waiting import wait_until

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from detector_client import NODE, make_image
from diagnostic_msgs.msg import DiagnosticArray
from foxglove_msgs.msg import ImageAnnotations
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection3DArray

from mask_detector_ros.imaging.encodings import decode_message


def test_annotations_have_the_stamp_of_the_image_and_a_box_around_its_face(
    active_detector: Any, portrait: np.ndarray
) -> None:
    _, client, images, _ = active_detector
    heard = client.listen(ImageAnnotations, f"{NODE}/annotations")
    wait_until(lambda: images.publish(make_image(portrait, sec=77)) or heard)
    wait_until(lambda: heard[-1].points)
    box = heard[-1].points[0]
    corners = np.array([(p.x, p.y) for p in box.points])
    assert np.abs(corners.mean(axis=0) - (223, 116)).max() < 20
    assert box.timestamp.sec == 77
    assert "without mask" in heard[-1].texts[0].text


def test_the_private_image_hides_the_face_and_draws_nothing(
    active_detector: Any, portrait: np.ndarray
) -> None:
    _, client, images, _ = active_detector
    raw = client.listen(Image, f"{NODE}/image_private")
    compressed = client.listen(CompressedImage, f"{NODE}/image_private/compressed")
    wait_until(lambda: images.publish(make_image(portrait)) or (raw and compressed))
    wait_until(lambda: images.publish(make_image(portrait)) or len(raw) > 3, what="more images")
    private = decode_message(raw[-1])
    changed = (private != portrait).any(axis=2)
    face = np.zeros_like(changed)
    face[10:225, 135:310] = True
    assert changed[80:150, 190:255].mean() > 0.95, "the face is hidden"
    assert not (changed & ~face).any(), "nothing is drawn"
    assert decode_message(compressed[-1]).shape == portrait.shape


def test_a_face_that_is_missed_for_a_moment_stays_hidden(
    active_detector: Any, portrait: np.ndarray
) -> None:
    """Given one frame with the face, and one in which no detector can find it."""
    _, client, images, detections = active_detector
    raw = client.listen(Image, f"{NODE}/image_private")
    wait_until(lambda: images.publish(make_image(portrait, sec=100)) or raw)
    wait_until(lambda: detections and detections[-1].detections)
    covered = portrait.copy()
    covered[40:195, 165:285] = 0
    message = make_image(covered, sec=100, nanosec=200_000_000)
    wait_until(lambda: images.publish(message) or raw[-1].header.stamp.nanosec)
    wait_until(lambda: detections and not detections[-1].detections, what="the face to be missed")
    private = decode_message(raw[-1])
    assert (private != covered)[70:160, 190:255].any(axis=2).mean() > 0.95


def test_switched_off_the_node_receives_nothing_and_on_it_goes_on(
    active_detector: Any, portrait: np.ndarray
) -> None:
    _, client, images, detections = active_detector
    status = client.listen(DiagnosticArray, "/diagnostics")
    # The fixture has left no result on its way.
    off = client.call(SetBool, f"{NODE}/enable", SetBool.Request(data=False))
    assert (off.success, off.message) == (True, "off")
    wait_until(lambda: images.get_subscription_count() == 0, what="the subscription's end")
    status.clear()
    wait_until(
        lambda: any("~/enable switches on" in s.message for m in status for s in m.status),
        what="diagnostics that say so",
    )
    assert not detections
    on = client.call(SetBool, f"{NODE}/enable", SetBool.Request(data=True))
    assert on.success
    wait_until(lambda: images.publish(make_image(portrait)) or detections)


def test_faces_have_positions_by_size_and_by_the_depth_of_their_stamp(
    graph: Any, portrait: np.ndarray
) -> None:
    """The portrait's face is around (223, 116), 88x113 pixels."""
    process = graph.start("mask_detector_node", threads=1, depth_topics="depth/image")
    client = graph.client()
    heard = client.listen(Detection3DArray, f"{NODE}/faces_3d")
    graph.wait_for_output(process, "models loaded")
    images = client.advertise(Image, "/image_raw")
    infos = client.advertise(CameraInfo, "/camera_info")
    depths = client.advertise(Image, "/depth/image")
    height, width = portrait.shape[:2]
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    info.k = [500.0, 0.0, width / 2, 0.0, 500.0, height / 2, 0.0, 0.0, 1.0]
    wait_until(lambda: infos.publish(info) or images.publish(make_image(portrait)) or heard)
    assert heard[-1].header.frame_id == "camera"
    assert 0.6 < heard[-1].detections[0].bbox.center.position.z < 1.4

    depth = make_image(np.full((height, width), 2500, np.uint16), "16UC1", sec=50)
    image = make_image(portrait, sec=50, nanosec=10_000_000)
    wait_until(
        lambda: (
            depths.publish(depth)
            or images.publish(image)
            or abs(heard[-1].detections[0].bbox.center.position.z - 2.5) < 1e-3
        ),
        what="the position by depth",
    )
    place = heard[-1].detections[0].bbox.center.position
    assert place.x == pytest.approx((223 - width / 2) / 500 * 2.5, abs=0.1)
    assert place.y == pytest.approx((116 - height / 2) / 500 * 2.5, abs=0.1)
    pose = heard[-1].detections[0].results[0].pose
    assert pose.pose.position == place
    assert 0 < pose.covariance[14] < 0.02


def test_every_camera_warns_of_its_own_silence(graph: Any) -> None:
    process = graph.start(
        "mask_detector_node", threads=1, cameras="front,left/rear", image_timeout=0.5
    )
    graph.wait_for_output(process, "front: no image for")
    graph.wait_for_output(process, "left/rear: no image for")
