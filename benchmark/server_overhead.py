# SPDX-License-Identifier: Apache-2.0
"""Measure the overhead of an inference server on this machine per frame, and what JPEG changes.

    python -m benchmark.server_overhead [--server URL] [--frames N] [--quality Q ...] [--out FILE]

Without --server it starts one, of two instances. Each frame of the sample scene goes through all
ways in turn: in this process, through shared memory, as raw pixels in the message, and as JPEG.
Server and process use one thread each. `overhead` is the median over frames of the difference to a
run in this process just before, so that both share the machine's good and bad moments. Faces are
compared with those that this process finds: found again, found beside them, same label, and how far
boxes move.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmark.inference_server import InferenceServer, missing_server
from mask_detector_ros import MaskDetector
from mask_detector_ros.cli.command import run_command
from mask_detector_ros.errors import BackendError
from mask_detector_ros.evaluation.agreement import Agreement
from mask_detector_ros.evaluation.report_tables import Table
from mask_detector_ros.faces import Faces
from mask_detector_ros.sources.sample_scene import SampleScene
from mask_detector_ros.speed.machine import describe_machine

LOCAL = "in this process"
WARM_UP = 10
"""Frames before the first that counts."""


class Tally:
    """Times, bytes and faces of one way to process a frame (local, or a transport to the
    server)."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.overheads: list[float] = []
        self.bytes = 0
        self.faces: list[tuple[Faces, Faces]] = []

    def add(
        self, found: Faces, expected: Faces, seconds: float, overhead: float, size: int
    ) -> None:
        """Count a frame that was processed locally or through the server."""
        self.seconds.append(seconds)
        self.overheads.append(overhead)
        self.bytes += size
        self.faces.append((expected, found))

    def figures(self) -> dict[str, Any]:
        """The overhead figures as JSON-ready values; times in milliseconds."""
        times, faces = 1e3 * np.array(self.seconds), Agreement.of(self.faces)
        again = faces.faces - faces.missing
        return {
            "p50_ms": float(np.median(times)),
            "p99_ms": float(np.percentile(times, 99)),
            "overhead_ms": 1e3 * float(np.median(self.overheads)),
            "bytes_per_frame": self.bytes // len(times),
            "faces": faces.faces,
            "found_again": again,
            "found_beside": faces.extra,
            "same_label": again - faces.labels,
            "largest_shift_px": float(faces.boxes.max(initial=0)),
        }


def load_ways(url: str, qualities: Sequence[int]) -> dict[str, MaskDetector]:
    """Load one detector per way to process a frame: local, shared memory, raw, and JPEG
    qualities."""

    def served(image_format: str, quality: int = 90) -> MaskDetector:
        return MaskDetector.load(
            backend="triton",
            server_url=url,
            server_deadline=30.0,
            server_patience=30.0,
            server_image_format=image_format,
            server_jpeg_quality=quality,
        )

    ways = {LOCAL: MaskDetector.load(threads=1), "shared memory": served("raw")}
    # As if the server were on another machine.
    with mock.patch("mask_detector_ros.inference.triton.connection.Address.is_loopback", False):
        ways["raw"] = served("raw")
    return ways | {f"JPEG {quality}": served("jpeg", quality) for quality in qualities}


def sent_bytes(way: str, image: NDArray[np.uint8]) -> int:
    """Number of bytes of an image that go over the network to the server."""
    if way.startswith("JPEG"):
        return len(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(way.split()[1])])[1])
    return image.nbytes if way == "raw" else 0


def measure(ways: Mapping[str, MaskDetector], frames: int) -> dict[str, Tally]:
    """Process frames of the sample scene in every way, each right after a local run."""
    tallies = {way: Tally() for way in ways}
    scene = SampleScene()
    for index in tqdm(range(WARM_UP + frames), unit="frame", disable=not sys.stderr.isatty()):
        image, _ = scene.render(index)
        for way, detector in ways.items():
            expected, local = timed(ways[LOCAL], image)
            faces, seconds = timed(detector, image)
            if index >= WARM_UP:
                tallies[way].add(faces, expected, seconds, seconds - local, sent_bytes(way, image))
    return tallies


def timed(detector: MaskDetector, image: NDArray[np.uint8]) -> tuple[Faces, float]:
    """Detect the faces of an image locally or on the server, and time it in seconds."""
    start = time.perf_counter()
    faces = detector(image)
    return faces, time.perf_counter() - start


def to_table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    header = ("way", "p50 ms", "p99 ms", "overhead ms", "kB a frame")
    header += ("found again", "beside", "same label", "largest shift px")
    rows = []
    for way, f in figures.items():
        times = [f"{f[name]:.1f}" for name in ("p50_ms", "p99_ms", "overhead_ms")]
        counts = [f"{f['found_again']} of {f['faces']}", str(f["found_beside"])]
        label = f"{f['same_label']} of {f['found_again']}"
        size = f"{f['bytes_per_frame'] / 1e3:.0f}"
        rows.append((way, *times, size, *counts, label, f"{f['largest_shift_px']:.2f}"))
    return Table("the sample scene, 640x480", header, rows)


def run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        url = options.server
        if not url:
            if obstacle := missing_server():
                raise BackendError(obstacle)
            # Triton's batcher stalls with one instance; a slow moment is measured, not rejected.
            server = InferenceServer("--instances", "2", "--queue-limit", "30")
            url = stack.enter_context(server).address
        ways = load_ways(url, options.quality)
        for detector in ways.values():
            stack.callback(detector.close)
        tallies = measure(ways, options.frames)
    figures = {way: tally.figures() for way, tally in tallies.items()}
    print(describe_machine())
    print(to_table(figures).to_text())
    if options.out:
        Path(options.out).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurement; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.server_overhead")
    parser.add_argument(
        "--server", metavar="URL", help="use this running server instead of starting one"
    )
    parser.add_argument(
        "--frames", type=int, default=300, metavar="N", help="number of frames, default 300"
    )
    parser.add_argument(
        "--quality",
        type=int,
        nargs="+",
        default=[90, 75],
        metavar="Q",
        help="JPEG qualities to measure, 1 to 100",
    )
    parser.add_argument("--out", metavar="FILE", help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
