# SPDX-License-Identifier: Apache-2.0
"""A graph whose latency can be measured: cameras -> a node -> this process, over real DDS."""

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mask_detector_ros.msg import MaskSummary
from vision_msgs.msg import Detection2DArray

from benchmark.latency_measures import Frames, match_frames
from benchmark.processes import LIMIT, Lost, ProcessStatus, wait_for
from benchmark.ros_client import RosClient
from mask_detector_ros.result_messages import LATENCY_PARTS
from mask_detector_ros.ros.messages import nanoseconds

PROCESS = "benchmark.latency_process"
WARM_UP = 1.0
"""Warm-up seconds of each measurement."""

QUIET = 2.0
"""Seconds without a result after which missing results count as lost."""


@dataclass(frozen=True)
class Measurement:
    """The results of one latency run.

    Attributes:
        rate: actual rate of each camera in Hz.
        streams: the results, one per camera.
        cpu: use of each process, by name, as a fraction of one core.
    """

    rate: float
    streams: list[Frames]
    cpu: dict[str, float]


class LatencyGraph(RosClient):
    """Starts cameras and a node, and measures the latency of their images.

    Args:
        folder: folder for the nodes' output and logs.
        size: width and height of the images.
        cameras: names as for the parameter `cameras`; by default one camera without a name.
    """

    def __init__(self, folder: Path, size: tuple[int, int], cameras: Sequence[str] = ("",)) -> None:
        super().__init__(folder, "watcher")
        self._lock = threading.Lock()
        self._received: dict[str, dict[int, int]] = {name: {} for name in cameras}
        self._times: dict[str, dict[int, dict[str, int]]] = {name: {} for name in cameras}
        self._last = 0.0
        self._named: dict[str, subprocess.Popen[Any]] = {}
        for name in cameras:
            self._watch(name)
        for name in cameras:
            topic = f"{'/' if name else ''}{name}/image_raw"
            arguments = ("camera", topic, *map(str, size))
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._named[f"camera {name}".strip()] = self.run(PROCESS, *arguments, **pipes)
        self._cameras = list(self._named.values())
        for camera in self._cameras:
            self._read(camera)

    def add_detector(self, *arguments: str, name: str = "node", **parameters: Any) -> None:
        """Start a detector node in the latency graph."""
        self._named[name] = self.start("mask_detector_node", *arguments, **parameters)

    def add_copy(self) -> None:
        """Start the node that only copies, to measure the transport's latency."""
        self._named["node"] = self.run(PROCESS, "copy")

    def add_viewer(self) -> None:
        """Start a viewer of the annotated images in the latency graph."""
        self._named["viewer"] = self.run(PROCESS, "view", "/mask_detector/image_annotated")

    def settle(self) -> None:
        """Wait until every camera of the latency graph has results.

        Raises:
            Lost: they did not in time.
        """
        wait_for(
            lambda: all(len(frames.stamps) for frames in self.measure(10, 1).streams),
            "the first detections of every camera",
        )
        # By now the node has checked the cameras' QoS and subscribed accordingly.
        self.measure(10, 1)

    def measure(self, rate: float, seconds: float) -> Measurement:
        """Publish at a rate for some seconds after the warm-up, and collect the latencies.

        Raises:
            Lost: a process ended.
        """
        with self._lock:
            for heard in (*self._received.values(), *self._times.values()):
                heard.clear()
        before, start = self._cpu(), time.monotonic()
        for camera in self._cameras:
            camera.stdin.write(f"{rate} {WARM_UP + seconds}\n")
            camera.stdin.flush()
        published: list[list[int]] = [json.loads(self._read(c)) for c in self._cameras]
        passed = time.monotonic() - start
        after = self._cpu()
        self._wait_for_the_last([stamps[-1] for stamps in published])
        streams = []
        with self._lock:
            for name, stamps in zip(self._received, published, strict=True):
                counted = [s for s in stamps if s >= stamps[0] + WARM_UP * 1e9]
                streams.append(match_frames(counted, self._received[name], self._times[name]))
        real = [(len(stamps) - 1) / (stamps[-1] - stamps[0]) * 1e9 for stamps in published]
        cpu = {name: (after[name] - before[name]) / passed for name in after}
        return Measurement(sum(real) / len(real), streams, cpu)

    def close(self) -> None:
        """End all processes of the latency graph."""
        for camera in self._cameras:
            # It may already have ended.
            with contextlib.suppress(BrokenPipeError):
                camera.stdin.close()
        super().close()

    def _watch(self, name: str) -> None:
        received, times = self._received[name], self._times[name]

        def on_detections(message: Detection2DArray) -> None:
            now = time.time_ns()
            self._last = time.monotonic()
            with self._lock:
                received[nanoseconds(message.header.stamp)] = now

        def on_summary(message: MaskSummary) -> None:
            parts = {part: nanoseconds(getattr(message, part)) for part in LATENCY_PARTS}
            with self._lock:
                times[nanoseconds(message.header.stamp)] = parts

        place = f"{'/' if name else ''}{name}/mask_detector"
        self.node.create_subscription(Detection2DArray, f"{place}/detections", on_detections, 100)
        self.node.create_subscription(MaskSummary, f"{place}/summary", on_summary, 100)

    def _wait_for_the_last(self, stamps: list[int]) -> None:
        """Wait until each camera's last image has its result, or results cease."""
        self._last = max(self._last, time.monotonic())

        def done() -> bool:
            with self._lock:
                heard = zip(self._received.values(), self._times.values(), stamps, strict=True)
                all_here = all(s in r and (s in t or not t) for r, t, s in heard)
            return all_here or time.monotonic() - self._last > QUIET

        wait_for(done, "the end of the results")

    def _read(self, camera: subprocess.Popen[Any]) -> str:
        line: str = camera.stdout.readline()
        if not line:
            camera.wait(LIMIT)
        for name, process in self._named.items():
            if process.poll() is not None:
                raise Lost(f"{name} has ended:\n{self.last_words(process)}")
        return line

    def _cpu(self) -> dict[str, float]:
        pids = {name: process.pid for name, process in self._named.items()}
        pids["watcher"] = os.getpid()
        return {name: ProcessStatus(pid).cpu_seconds() for name, pid in pids.items()}
