# SPDX-License-Identifier: Apache-2.0
"""The faults of the soak test around a detector node, one function each.

Each function injects its fault into a `Rig`, `scale` times as long or as often, and returns when
the fault is over. The caller checks that the node recovers (`Rig.recover`).
"""

import random
import signal
import time

import numpy as np
import rclpy
from mask_detector_ros.msg import FaceArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from benchmark.processes import wait_for
from benchmark.soak_hostile_faults import HOSTILE
from benchmark.soak_rig import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, Rig
from mask_detector_ros.ros.publishing import warn_if_unsent

ENCODINGS = ("bgr8", "rgb8", "bgra8", "rgba8", "mono8")
SOURCE = {"source": "sample", "width": 320, "height": 240, "rate": 10.0}


def publisher_killed(rig: Rig, scale: float) -> None:
    """Soak fault: kill a camera's process; another takes its place."""
    with rig.silent_camera():
        for _ in range(max(1, round(2 * scale))):
            camera = rig.start("image_source_node", **SOURCE)
            _wait_for_frames(rig, 3)
            rig.end(camera, signal.SIGKILL)


def publisher_stalled(rig: Rig, scale: float) -> None:
    """Soak fault: a camera hangs, which diagnostics must report, and resumes."""
    with rig.silent_camera():
        camera = rig.start("image_source_node", **SOURCE)
        _wait_for_frames(rig, 3)
        camera.send_signal(signal.SIGSTOP)
        wait_for(lambda: "no image" in rig.status, "the warning of silence")
        camera.send_signal(signal.SIGCONT)
        _wait_for_frames(rig, 3)
        rig.end(camera, signal.SIGINT)


def flood(rig: Rig, scale: float) -> None:
    """Soak fault: publish images far faster than they can be processed."""
    message = rig.image(480, 640)
    end = time.monotonic() + 5 * scale
    while time.monotonic() < end:
        with warn_if_unsent(rig.node):
            rig.camera.publish(message)


def corrupt(rig: Rig, scale: float) -> None:
    """Soak fault: publish images with contradictory or invalid fields."""
    chance = random.Random(rig.frames)
    for _ in range(round(100 * scale)):
        message = rig.image()
        kind = chance.randrange(6)
        if kind == 0:
            message.encoding = chance.choice(["", "nv99", "bgr8; jpeg", "\N{SNOWMAN}", "32FC1"])
        elif kind == 1:
            message.step = chance.randrange(2**32)
        elif kind == 2:
            message.height, message.width = chance.choice([(0, 0), (2**31, 2), (1, 2**32 - 1)])
        elif kind == 3:
            del message.data[chance.randrange(len(message.data)) :]
        elif kind == 4:
            message.encoding, message.width = "yuv422", 63
        else:
            message.data.frombytes(chance.randbytes(100))
        rig.camera.publish(message)
        time.sleep(0.002)


def sizes_and_encodings(rig: Rig, scale: float) -> None:
    """Soak fault: change the size and encoding with every image."""
    chance = random.Random(rig.frames)
    for _ in range(round(40 * scale)):
        size = chance.choice([(1, 1), (48, 64), (480, 640), (1080, 1920), (3, 2000), (2000, 3)])
        rig.camera.publish(rig.image(*size, chance.choice(ENCODINGS)))
        time.sleep(0.02)


def qos_changes(rig: Rig, scale: float) -> None:
    """Soak fault: publishers of the topic, reliable and best effort, come and go."""
    with rig.silent_camera():
        for reliability in (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE):
            qos = QoSProfile(depth=1, reliability=reliability)
            with rig.publishing(Image, "/image_raw", qos) as publisher:
                rig.recover(publisher)


def clock_jumps(rig: Rig, scale: float) -> None:
    """Soak fault: stamps jump ahead and back, stay equal, and lie before 1970 or beyond the
    range."""
    jumps = [0, 0, 0, 1, -1, -(2**31), 2**31 - 1, 1_700_000_000, 3600, 7200, 0]
    for sec in jumps * max(1, round(5 * scale)):
        message = rig.image(240, 320)
        message.header.stamp.sec = sec
        rig.camera.publish(message)
        time.sleep(0.01)


def subscribers_come_and_go(rig: Rig, scale: float) -> None:
    """Soak fault: subscribers come and go, including those of annotated images."""
    topics = {
        "/mask_detector/detections": Detection2DArray,
        "/mask_detector/faces": FaceArray,
        "/mask_detector/image_annotated": Image,
        "/mask_detector/image_annotated/compressed": CompressedImage,
    }
    for _ in range(max(1, round(5 * scale))):
        with rig.hearing(topics) as heard:
            wait_for(
                lambda heard=heard: rig.camera.publish(rig.image()) or len(heard) > 3, "all results"
            )


def activation_cycles(rig: Rig, scale: float) -> None:
    """Soak fault: deactivate and activate repeatedly while images arrive."""
    for _ in range(max(1, round(100 * scale))):
        rig.change_state(DEACTIVATE, ACTIVATE)
        rig.camera.publish(rig.image())


def lifecycle_cycles(rig: Rig, scale: float) -> None:
    """Soak fault: clean up and reconfigure, including the models, while images arrive."""
    for _ in range(max(1, round(10 * scale))):
        rig.change_state(DEACTIVATE, CLEANUP)
        rig.camera.publish(rig.image())
        rig.change_state(CONFIGURE, ACTIVATE)


def parameters_change(rig: Rig, scale: float) -> None:
    """Soak fault: change parameters with every image, also to invalid values."""
    chance = random.Random(rig.frames)
    for _ in range(max(1, round(30 * scale))):
        size = chance.choice([40, 60, 200, -1])
        rig.camera.publish(rig.image())
        result = rig.set_parameter("min_face_size", size)
        assert result.successful == (size > 0), result.reason
        rig.call(Trigger, "/mask_detector/reset", Trigger.Request())


def node_killed(rig: Rig, scale: float) -> None:
    """Soak fault: kill a second detector in the middle of a frame, and restart it."""
    # A participant of its own: for a while after a kill, Fast DDS gives no image of more than 64 kB
    # from the victim's publisher, nor from others of its participant, to anyone.
    context = rclpy.Context()
    rclpy.init(context=context)
    camera = rclpy.create_node("victims_camera", context=context)
    publisher = camera.create_publisher(Image, "/victim/image_raw", 1)
    with rig.hearing({"/victim/mask_detector/detections": Detection2DArray}) as results:
        for how in (signal.SIGKILL, signal.SIGTERM):
            results.clear()
            victim = rig.start("mask_detector_node", "-r", "__ns:=/victim", threads=1)
            wait_for(lambda: publisher.publish(rig.image()) or results, "the second node's results")
            noise = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
            message = rig.image(1080, 1920)
            message.data[:] = type(message.data)("B", noise.tobytes())
            publisher.publish(message)
            code = rig.end(victim, how)
            assert code == (-signal.SIGKILL if how is signal.SIGKILL else 0), code
    camera.destroy_node()
    context.try_shutdown()


FAULTS = (
    publisher_killed,
    publisher_stalled,
    flood,
    corrupt,
    sizes_and_encodings,
    qos_changes,
    clock_jumps,
    subscribers_come_and_go,
    activation_cycles,
    lifecycle_cycles,
    parameters_change,
    node_killed,
    *HOSTILE,
)


def _wait_for_frames(rig: Rig, count: int) -> None:
    """Wait for this many further results, from any publisher."""
    goal = rig.frames + count
    wait_for(lambda: rig.frames >= goal, "results of the camera's images")
