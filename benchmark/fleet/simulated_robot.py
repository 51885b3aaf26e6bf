# SPDX-License-Identifier: Apache-2.0
"""A simulated robot: frames at a fixed rate through the detector, a line a frame on stdout.

python -m benchmark.fleet.simulated_robot --rate 15 backend=auto server_url=127.0.0.1:8001

It runs until its stdin ends. As in the node, the newest frame wins: a frame that comes while the
detector works is left out. A line is `END LATENCY SOURCE FACES`: seconds of the system's monotonic
clock, seconds, the backend that served the frame or `failed`, and the number of faces.
"""

import argparse
import itertools
import random
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ServerError
from mask_detector_ros.sources import open_source

READY = "ready"
FAILED = "failed"
FRAMES = 30
LOAD_LIMIT = 30.0


def sample_frames() -> list[NDArray[np.uint8]]:
    """Render the first frames of the sample scene for a simulated robot."""
    with open_source("sample") as source:
        frames = (source.read() for _ in range(FRAMES))
        return [frame.image for frame in frames if frame is not None]


def ticks(rate: float, done: threading.Event) -> Iterator[None]:
    """Yield at the simulated robot's frame rate; ticks that pass meanwhile are skipped."""
    start = time.monotonic()
    while not done.is_set():
        yield
        passed = int((time.monotonic() - start) * rate)
        time.sleep(max((passed + 1) / rate - (time.monotonic() - start), 0))


def load(parameters: Mapping[str, Any]) -> MaskDetector:
    """Load a simulated robot's detector, trying again while the server is overloaded."""
    end = time.monotonic() + LOAD_LIMIT
    while True:
        try:
            return MaskDetector.load(threads=1, **parameters)
        except ServerError:
            if time.monotonic() > end:
                raise
            time.sleep(random.uniform(0, 0.2))


def main() -> None:
    """Run until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=15.0)
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    parameters: dict[str, Any] = {}
    for name, _, value in (each.partition("=") for each in arguments.parameters):
        parameters[name] = yaml.safe_load(value)
    frames = itertools.cycle(sample_frames())
    done = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        done.set()

    with load(parameters) as detector, suppress(BrokenPipeError):
        detector.wait_for_server(10)
        print(READY, flush=True)
        threading.Thread(target=wait_for_end, daemon=True).start()
        for _ in ticks(arguments.rate, done):
            start = time.monotonic()
            try:
                faces = detector(next(frames))
                source, count = detector.backend, len(faces)
            except ServerError:
                source, count = FAILED, 0
            end = time.monotonic()
            print(f"{end:.4f} {end - start:.4f} {source} {count}", flush=True)


if __name__ == "__main__":
    main()
