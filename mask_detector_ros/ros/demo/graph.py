# SPDX-License-Identifier: Apache-2.0
"""Run the demo's three nodes as processes (the ROS graph) until the source ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mask_detector_ros.errors import MaskDetectorError, SourceError
from mask_detector_ros.ros.dds_environment import image_environment
from mask_detector_ros.ros.demo.files import (
    PHOTOGRAPH_RATE,
    PHOTOGRAPH_SIZE,
    RATE,
    DemoFiles,
    DemoSource,
)
from mask_detector_ros.sources import SAMPLE

START_TIMEOUT, SETTLE_TIMEOUT, STOP_TIMEOUT = 60.0, 60.0, 30.0
"""Seconds that a busy machine may take; nothing waits longer than necessary."""

SETTLE_PERIOD, REPEAT_PERIOD = 1.0, 3.5
"""Seconds without a new record after which all are recorded. Fast DDS sends a lost message again
only every 3 s."""

RECORDS_KEPT = 1000
"""Detections that the detector keeps for a recorder that is behind."""

FIRST_FRAME_TIMEOUT = 60.0
"""Seconds allowed for the first frame, in addition to the duration."""


def run_graph(source: DemoSource, files: DemoFiles, view: bool = False) -> None:
    """Run the demo's three nodes until the source has ended and the last frame is recorded."""
    files.log.unlink(missing_ok=True)
    is_sample = source.name == SAMPLE
    camera = {
        "source": source.name,
        "rate": RATE if is_sample else PHOTOGRAPH_RATE if source.is_folder else 0.0,
        "loop": is_sample,
        "lossless": not source.paced_by_clock,
        "wait_for_subscriber": True,
    }
    # Photographs are independent: tracks must not continue from one to the next.
    detector_parameters: dict[str, Any] = {"tracking": not source.is_folder}
    if camera["lossless"]:
        # The source waits for its own detections only, so the recorder may be far behind.
        depth = "qos_overrides./mask_detector/detections.publisher.depth"
        detector_parameters[depth] = RECORDS_KEPT
    recorder_parameters = {"folder": str(files.folder), "rate": source.rate, "view": view}
    if source.is_folder:
        # A photograph is shown for a second, with as many frames as players need.
        recorder_parameters |= {"rate": RATE, "tail": 1 / PHOTOGRAPH_RATE}
        recorder_parameters |= dict(zip(("width", "height"), PHOTOGRAPH_SIZE, strict=True))
    environment = graph_environment()
    print(
        f"ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}: use the same to watch the topics",
        flush=True,
    )
    with (
        node(
            "recorder_node",
            recorder_parameters,
            environment,
            detections="mask_detector/detections",
            image_annotated="mask_detector/image_annotated",
            ground_truth="image_source/ground_truth",
        ) as recorder,
        node("mask_detector_node", detector_parameters, environment) as detector,
    ):
        others = (recorder, detector)
        log = files.log
        wait_for(log.exists, START_TIMEOUT, others, "the nodes did not find each other")
        with node(
            "image_source_node", camera, environment, detections="mask_detector/detections"
        ) as image_source:
            try:
                wait_for(
                    lambda: image_source.poll() is not None or log.stat().st_size > 0,
                    FIRST_FRAME_TIMEOUT + (source.duration or START_TIMEOUT),
                    others,
                    "no frame came through",
                )
                wait_for(lambda: image_source.poll() is not None, source.duration, others)
            except KeyboardInterrupt:
                print("interrupted; what was recorded is kept", file=sys.stderr)
            if image_source.poll():
                raise SourceError(f"the source {source.shown} could not be shown; see above")
        wait_until_settled(log, REPEAT_PERIOD if camera["lossless"] else SETTLE_PERIOD)
    for process, name in ((detector, "mask_detector"), (recorder, "recorder")):
        if process.returncode:
            raise MaskDetectorError(f"{name} ended with exit code {process.returncode}; see above")


def graph_environment() -> dict[str, str]:
    """Environment variables of the demo's nodes: shared memory, and a separate ROS domain unless
    the user chose one."""
    config = Path(__file__).absolute().parents[3] / "config"
    environment = {**os.environ, **image_environment(config, os.environ)}
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    if environment.get("ROS_DISTRO") == "humble":
        environment.setdefault("ROS_LOCALHOST_ONLY", "1")
    environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return environment


@contextmanager
def node(
    module: str, parameters: dict[str, Any], environment: dict[str, str], **remappings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node of the demo's graph in a separate process; end it with SIGINT."""
    command = [sys.executable, "-m", f"mask_detector_ros.ros.{module}", "--ros-args"]
    for name, topic in remappings.items():
        command += ["-r", f"{name}:={topic}"]
    # A file of ours alone: every user of the machine can read arguments, such as a password.
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"/**": {"ros__parameters": parameters}}, file)
        file.flush()
        process = subprocess.Popen([*command, "--params-file", file.name], env=environment)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(
    condition: Callable[[], bool],
    timeout: float | None,
    processes: tuple[subprocess.Popen[bytes], ...],
    complaint: str = "",
) -> None:
    """Wait for a condition while the demo's processes run; a timeout is an error only with a
    complaint."""
    end = None if timeout is None else time.monotonic() + timeout
    while not condition():
        if any(process.poll() is not None for process in processes):
            raise MaskDetectorError("a node ended early; see its message above")
        if end is not None and time.monotonic() > end:
            if complaint:
                raise MaskDetectorError(f"{complaint} within {timeout:g} s")
            return
        time.sleep(0.05)


def wait_until_settled(log: Path, period: float) -> None:
    """Wait until the demo's recorder wrote nothing for `period` seconds, so that the last frame is
    recorded."""
    end = time.monotonic() + SETTLE_TIMEOUT
    size, since = -1, time.monotonic()
    while time.monotonic() < min(end, since + period):
        if (now := log.stat().st_size) != size:
            size, since = now, time.monotonic()
        time.sleep(0.05)
