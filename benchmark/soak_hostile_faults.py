# SPDX-License-Identifier: Apache-2.0
"""Faults of the soak test from an attacker, a bug or a shortage; see `benchmark.soak_faults`."""

import random
import resource
import signal
import struct
import time
from typing import Any

import numpy as np
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from benchmark.adversarial_images import KINDS, adversarial
from benchmark.processes import wait_for
from benchmark.soak_rig import Rig
from mask_detector_ros.ros.conversions import image_to_compressed, image_to_message


def adversarial_images(rig: Rig, scale: float) -> None:
    """Hostile soak fault: publish noise, checkerboards, text and repeated faces in all shapes."""
    chance = random.Random(rig.frames)
    for _ in range(max(1, round(5 * scale))):
        for kind in KINDS:
            height, width = chance.choice([(720, 1280), (20, 46080), (46080, 20)])
            image = adversarial(kind, height, width, chance.randrange(2, 20))
            rig.camera.publish(image_to_message(image, Header(frame_id="hostile")))
            time.sleep(0.05)


def everything_is_a_face(rig: Rig, scale: float) -> None:
    """Hostile soak fault: set all thresholds to 0, so that every cell of an image gives a
    candidate."""
    assert rig.set_parameter("detection_thresholds", [0.0, 0.0, 0.0]).successful
    try:
        for _ in range(max(1, round(5 * scale))):
            rig.camera.publish(rig.image(720, 1280))
            rig.recover()
    finally:
        assert rig.set_parameter("detection_thresholds", [0.6, 0.7, 0.7]).successful


def compressed_bombs(rig: Rig, scale: float) -> None:
    """Hostile soak fault: publish JPEGs that claim 12000x12000 pixels, truncated ones and corrupted
    ones between good ones."""
    chance = random.Random(rig.frames)
    good = image_to_compressed(np.zeros((48, 64, 3), np.uint8), Header(frame_id="jpeg"))
    data = bytes(good.data)
    topic = "/image_raw/compressed"
    with rig.silent_camera(), rig.publishing(CompressedImage, topic) as publisher:
        _expect_more(rig, publisher, good)
        for _ in range(round(50 * scale)):
            spoilt = bytearray(data)
            if chance.random() < 0.5:
                place = spoilt.index(b"\xff\xc0") + 5
                spoilt[place : place + 4] = struct.pack(">HH", 12000, 12000)
            else:
                spoilt[chance.randrange(2, len(spoilt))] ^= chance.randrange(1, 256)
                del spoilt[chance.randrange(2, len(spoilt)) :]
            message = CompressedImage(header=good.header, format="jpeg")
            message.data.frombytes(bytes(spoilt))
            publisher.publish(message)
            time.sleep(0.005)
        _expect_more(rig, publisher, good)


def _expect_more(rig: Rig, publisher: Any, message: CompressedImage) -> None:
    goal = rig.frames + 1

    def answered() -> bool:
        publisher.publish(message)
        time.sleep(0.01)
        return rig.frames >= goal

    wait_for(answered, "results of compressed images")


def time_runs_backwards(rig: Rig, scale: float) -> None:
    """Hostile soak fault: run a second detector on a clock that goes below 0 and jumps."""
    with (
        rig.hearing({"/timeless/mask_detector/detections": Detection2DArray}) as results,
        rig.publishing(Image, "/timeless/image_raw") as images,
        rig.publishing(Clock, "/clock", 10) as clock,
    ):
        namespace = ("-r", "__ns:=/timeless")
        victim = rig.start("mask_detector_node", *namespace, threads=1, use_sim_time=True)

        def answered() -> bool:
            clock.publish(message)
            images.publish(rig.image())
            return bool(results)

        for sec in (5, -5, 2**31 - 1, -(2**31), 1, 0):
            message = Clock()
            message.clock.sec = sec
            results.clear()
            wait_for(answered, "results despite the clock")
        assert rig.end(victim, signal.SIGINT) == 0


def no_descriptors_left(rig: Rig, scale: float) -> None:
    """Hostile soak fault: prevent the process from opening files for a while; images continue."""
    pid = rig.detector.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = rig.process.descriptors()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, limits[1]))
    try:
        end = time.monotonic() + 5 * scale
        while time.monotonic() < end:
            rig.recover()
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


HOSTILE = (
    adversarial_images,
    everything_is_a_face,
    compressed_bombs,
    time_runs_backwards,
    no_descriptors_left,
)
