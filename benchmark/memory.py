# SPDX-License-Identifier: Apache-2.0
"""Measure whether the memory of the detector process stays constant while the real node runs over
DDS.

    python -m benchmark.memory --bound
    python -m benchmark.memory [--backends NAME ...] [--frames N] [--rate HZ] [--size WxH]

One run per installed CPU backend. Exit code 1 if one grew by `MAX_GROWTH_MB` or more after the
warm-up.
"""

import argparse
import contextlib
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from sensor_msgs.msg import Image
from tqdm import tqdm
from vision_msgs.msg import Detection2DArray

from benchmark import memory_bound
from benchmark.processes import ProcessStatus
from benchmark.reporting import table, write_report
from benchmark.ros_client import scene_messages
from mask_detector_ros.cli.benchmark import read_size
from mask_detector_ros.cli.command import run_command
from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.inference import CPU_BACKENDS, is_installed
from mask_detector_ros.ros.demo.graph import graph_environment, node

WARM_UP_FRAMES = 500
SAMPLE_EVERY = 50
"""Processed frames between two samples of the memory."""

MAX_GROWTH_MB = 5.0
SCENE_FRAMES = 60
FIRST_ASK = 1.0
"""Seconds without a result after which another image is published at full speed."""

SILENCE_LIMIT = 60.0
"""Seconds without a result after which the run fails."""


def growth(samples: Sequence[tuple[int, float]]) -> float:
    """Growth of the resident memory in megabytes, from the end of the warm-up to the end of the
    run.

    Args:
        samples: (frames processed, megabytes), in order. Each end is the median of a tenth of the
            samples after the warm-up, so that a single sample in the middle of a frame does not
            count.

    Raises:
        ValueError: there are no samples after the warm-up.
    """
    after = [megabytes for frames, megabytes in samples if frames >= WARM_UP_FRAMES]
    if len(after) < 2:
        raise ValueError("too few samples after the warm-up")
    return steady(after) - steady(after[::-1])


def steady(megabytes: Sequence[float]) -> float:
    """Steady state of the resident memory: the median of the last tenth of the samples."""
    return float(np.median(megabytes[-max(1, len(megabytes) // 10) :]))


class Feeder:
    """Publishes the sample scene to the measured node at a rate, or as fast as results arrive with
    a rate of 0."""

    def __init__(self, rate: float, width: int, height: int) -> None:
        self.node = rclpy.create_node("feeder")
        self.processed = self.published = self.faces = 0
        self._messages = scene_messages(width, height, SCENE_FRAMES)
        self._images = self.node.create_publisher(Image, "image_raw", 1)
        self.node.create_subscription(
            Detection2DArray, "mask_detector/detections", self._receive, 100
        )
        self._is_asked = rate == 0
        # At full speed the timer starts the loop, and restarts it if an image was lost.
        self._timer = self.node.create_timer(1 / rate if rate else FIRST_ASK, self._publish)

    def _receive(self, message: Detection2DArray) -> None:
        self.processed += 1
        self.faces += len(message.detections)
        if self._is_asked:
            self._publish()
            self._timer.reset()

    def _publish(self) -> None:
        message = self._messages[self.published % len(self._messages)]
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._images.publish(message)
        self.published += 1


Samples = list[tuple[int, dict[str, float]]]
"""One sample: frames processed, and memory by kind."""


def watch(
    parameters: dict[str, Any], feed: tuple[float, int, int], frames: int, minutes: float
) -> tuple[Samples, dict[str, int], float]:
    """Sample the memory of a detector node for a number of processed frames or minutes.

    Args:
        parameters: parameters of the node.
        feed: rate, and width and height of the images.

    Returns:
        Samples, frames published and faces found, seconds.

    Raises:
        MaskDetectorError: the node ended, or gave no result for `SILENCE_LIMIT` seconds.
    """
    samples: Samples = []
    with node("mask_detector_node", parameters, dict(os.environ)) as detector:
        status, feeder = ProcessStatus(detector.pid), Feeder(*feed)
        executor = SingleThreadedExecutor()
        executor.add_node(feeder.node)
        started = alive = time.monotonic()
        # An interrupted run still reports its results.
        interrupt = contextlib.suppress(KeyboardInterrupt, ExternalShutdownException)
        with interrupt, tqdm(total=frames, unit="frame") as progress:
            while feeder.processed < frames and time.monotonic() - started < 60 * minutes:
                executor.spin_once(timeout_sec=1.0)
                if detector.poll() is not None:
                    raise MaskDetectorError("the detector node ended; see its message above")
                if feeder.processed > progress.n:
                    alive = time.monotonic()
                    progress.update(feeder.processed - progress.n)
                    if feeder.processed % SAMPLE_EVERY == 0:
                        samples.append((feeder.processed, status.memory()))
                elif time.monotonic() - alive > SILENCE_LIMIT:
                    raise MaskDetectorError(f"no result for {SILENCE_LIMIT:.0f} s; see above")
        executor.shutdown()
        feeder.node.destroy_node()
        counts = {"frames_published": feeder.published, "faces_found": feeder.faces}
        return samples, counts, time.monotonic() - started


def summarise(samples: Samples, counts: dict[str, int], seconds: float) -> dict[str, Any]:
    """Summarise the memory of one run: peak, steady state and growth."""
    return {
        "frames_processed": samples[-1][0],
        **counts,
        "seconds": round(seconds, 1),
        "growth_mb": {k: growth([(n, memory[k]) for n, memory in samples]) for k in samples[0][1]},
        "steady_mb": {k: steady([memory[k] for _, memory in samples]) for k in samples[0][1]},
        "peak_mb": samples[-1][1]["VmHWM"],
        "samples": samples,
    }


def memory_table(runs: dict[str, dict[str, Any]]) -> str:
    """Table of the memory figures: one line per backend, in megabytes."""
    rows = []
    for backend, run in runs.items():
        stable, gained = run["steady_mb"], run["growth_mb"]["VmRSS"]
        cells = [f"{mb:.0f} MB" for mb in (stable["VmRSS"], stable["RssShmem"], run["peak_mb"])]
        growth = f"{gained:+.2f} MB from frame {WARM_UP_FRAMES} to {run['frames_processed']}"
        work = f"{run['frames_published']} published, {run['faces_found']} faces"
        verdict = "flat" if gained < MAX_GROWTH_MB else f"NOT flat ({MAX_GROWTH_MB:g} MB)"
        rows.append((backend, *cells, growth, f"{work}, {run['seconds']:.0f} s", verdict))
    head = ("backend", "steady", "of it shared with DDS", "peak", "growth", "frames", "")
    return table(head, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write a JSON file."""
    parser = argparse.ArgumentParser(prog="memory", description=__doc__.splitlines()[0])
    installed = [name for name in CPU_BACKENDS if is_installed(name)]
    parser.add_argument("--backends", nargs="+", choices=CPU_BACKENDS, default=installed)
    parser.add_argument(
        "--frames", type=int, default=5000, help="number of frames to process per backend"
    )
    parser.add_argument(
        "--rate", type=float, default=60.0, help="published frames per second; 0: full speed"
    )
    parser.add_argument(
        "--min-face-size", type=int, default=40, help="minimum face size of the detector, in px"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="maximum minutes per backend"
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of the networks; 0: all cores"
    )
    parser.add_argument(
        "--size",
        type=read_size,
        default=(640, 480),
        metavar="WxH",
        help="size of the published images",
    )
    parser.add_argument(
        "--bound",
        action="store_true",
        help="instead: the maximum memory for one image of any content, up to 7680x4320",
    )
    parser.add_argument("--out", type=Path, default=Path("out/benchmark_memory.json"))
    arguments = parser.parse_args(argv)
    if arguments.frames < 2 * WARM_UP_FRAMES or arguments.rate < 0:
        parser.error(f"--frames must be {2 * WARM_UP_FRAMES} or more, and --rate 0 or more")
    return run_command(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    """Measure the memory of the node with every backend; return 1 if the memory of one grew."""
    if arguments.bound:
        return memory_bound.run(memory_bound.SIZES, arguments.backends, arguments.threads or 1)
    # Both processes must join the same graph, and DDS reads the profile at start.
    os.environ.update(graph_environment())
    runs = {}
    rclpy.init()
    try:
        for backend in arguments.backends:
            options = {name: getattr(arguments, name) for name in ("min_face_size", "threads")}
            parameters = {**options, "backend": backend}
            feed = (arguments.rate, *arguments.size)
            watched = watch(parameters, feed, arguments.frames, arguments.minutes)
            runs[backend] = summarise(*watched)
    finally:
        rclpy.try_shutdown()
    print(f"\n{memory_table(runs)}")
    size = "x".join(map(str, arguments.size))
    write_report(arguments.out, min_face_size=arguments.min_face_size, size=size, backends=runs)
    return 1 if any(run["growth_mb"]["VmRSS"] >= MAX_GROWTH_MB for run in runs.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
