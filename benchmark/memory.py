"""Does the detector process stay flat? Feed the real node over real DDS and watch its memory.

    python -m benchmark.memory [--frames N] [--rate HZ] [--out FILE]

Exit code 1 when it grew by `MAX_GROWTH_MB` or more after the warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tqdm import tqdm
from vision_msgs.msg import Detection2DArray

from mask_detector_ros.benchmark.machine import describe_machine
from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.ros.conversions import image_to_message
from mask_detector_ros.ros.demo import graph_environment, node
from mask_detector_ros.sample_scene import SampleScene

WARM_UP_FRAMES = 500
SAMPLE_EVERY = 50
"""Processed frames between two looks at the process."""

MAX_GROWTH_MB = 5.0
MIN_FACE_SIZE = 40
SCENE_FRAMES = 60
SILENCE_LIMIT = 60.0
"""Seconds without a result after which the run is given up."""


def resident_memory(status: str) -> dict[str, float]:
    """Megabytes (2**20 bytes) of resident memory by kind, from a text of /proc/PID/status."""
    kinds = ("VmRSS", "RssAnon", "RssFile", "RssShmem")
    lines = (line.split() for line in status.splitlines())
    return {
        words[0].rstrip(":"): int(words[1]) / 1024
        for words in lines
        if words and words[0].rstrip(":") in kinds
    }


def growth(samples: Sequence[tuple[int, float]]) -> float:
    """Megabytes gained between the end of the warm-up and the end of the run.

    Args:
        samples: (frames processed, megabytes), in order. Each end is the median of a tenth of
            the samples after the warm-up, so that one look in the middle of a frame is no gain.

    Raises:
        ValueError: there are no samples after the warm-up.
    """
    after = [megabytes for frames, megabytes in samples if frames >= WARM_UP_FRAMES]
    if len(after) < 2:
        raise ValueError("too few samples after the warm-up")
    tenth = max(1, len(after) // 10)
    return float(np.median(after[-tenth:]) - np.median(after[:tenth]))


class Feeder:
    """Publishes the sample scene at a rate and watches what comes back."""

    def __init__(self, rate: float) -> None:
        self.node = rclpy.create_node("feeder")
        self.processed = self.published = 0
        scene = SampleScene()
        self._messages = [
            image_to_message(scene.render(5 * i)[0], Header(frame_id="camera"))
            for i in range(SCENE_FRAMES)
        ]
        self._images = self.node.create_publisher(Image, "image_raw", 1)
        self.node.create_subscription(
            Detection2DArray, "mask_detector/detections", self._receive, 100
        )
        self.node.create_timer(1 / rate, self._publish)

    def _receive(self, _: Detection2DArray) -> None:
        self.processed += 1

    def _publish(self) -> None:
        message = self._messages[self.published % len(self._messages)]
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._images.publish(message)
        self.published += 1


def watch(frames: int, rate: float) -> tuple[list[tuple[int, dict[str, float]]], int, float]:
    """Run the detector node until it has processed so many frames.

    Returns:
        Samples (frames processed, memory by kind), frames published, seconds.

    Raises:
        MaskDetectorError: the node ended, or gave nothing for `SILENCE_LIMIT` seconds.
    """
    samples: list[tuple[int, dict[str, float]]] = []
    parameters = {"min_face_size": MIN_FACE_SIZE, "backend": "onnxruntime"}
    with node("mask_detector_node", parameters, dict(os.environ)) as detector:
        feeder = Feeder(rate)
        executor = SingleThreadedExecutor()
        executor.add_node(feeder.node)
        started = alive = time.monotonic()
        with tqdm(total=frames, unit="frame") as progress:
            while feeder.processed < frames:
                executor.spin_once(timeout_sec=1.0)
                if detector.poll() is not None:
                    raise MaskDetectorError("the detector node ended; see its message above")
                if feeder.processed > progress.n:
                    alive = time.monotonic()
                    progress.update(feeder.processed - progress.n)
                    if feeder.processed % SAMPLE_EVERY == 0:
                        status = Path(f"/proc/{detector.pid}/status").read_text(encoding="utf-8")
                        samples.append((feeder.processed, resident_memory(status)))
                elif time.monotonic() - alive > SILENCE_LIMIT:
                    raise MaskDetectorError(f"no result for {SILENCE_LIMIT:.0f} s; see above")
        return samples, feeder.published, time.monotonic() - started


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write a JSON file."""
    parser = argparse.ArgumentParser(prog="memory", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=5000, help="to be processed")
    parser.add_argument("--rate", type=float, default=60.0, help="published frames a second")
    parser.add_argument("--out", type=Path, default=Path("out/benchmark_memory.json"))
    arguments = parser.parse_args(argv)
    if arguments.frames < 2 * WARM_UP_FRAMES or arguments.rate <= 0:
        parser.error(f"--frames must be {2 * WARM_UP_FRAMES} or more, and --rate above 0")
    # Both processes must join the same graph, and the DDS profile must be there when it starts.
    os.environ.update(graph_environment())
    rclpy.init()
    try:
        samples, published, seconds = watch(arguments.frames, arguments.rate)
    except MaskDetectorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    gained = {kind: growth([(n, memory[kind]) for n, memory in samples]) for kind in samples[0][1]}
    peak = max(memory["VmRSS"] for n, memory in samples if n >= WARM_UP_FRAMES)
    print_report(gained, peak, arguments.frames, published, seconds)
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "frames_processed": arguments.frames,
        "frames_published": published,
        "seconds": round(seconds, 1),
        "min_face_size": MIN_FACE_SIZE,
        "growth_mb": gained,
        "peak_mb": peak,
        "samples": samples,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written: {arguments.out}")
    return 1 if gained["VmRSS"] >= MAX_GROWTH_MB else 0


def print_report(
    gained: dict[str, float], peak: float, frames: int, published: int, seconds: float
) -> None:
    """The growth first, then how it was measured."""
    verdict = "flat" if gained["VmRSS"] < MAX_GROWTH_MB else f"NOT flat ({MAX_GROWTH_MB:g} MB)"
    kinds = ", ".join(f"{kind} {value:+.2f}" for kind, value in gained.items())
    print(
        f"\n{verdict}: {gained['VmRSS']:+.2f} MB from frame {WARM_UP_FRAMES} to frame {frames}"
        f" ({kinds}), {peak:.0f} MB at most"
    )
    print(f"{published} frames published, {frames} processed in {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
