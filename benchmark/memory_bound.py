# SPDX-License-Identifier: Apache-2.0
"""Bound the memory and time that a single image of any content can take.

    python -m benchmark.memory --bound [--size WxH ...] [--backends NAME ...]

Each run is a separate process that loads the detector, warms it up at 640x480 and processes one
image of each kind of `benchmark.adversarial_images`. Memory is the system's peak counter (VmHWM).
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.adversarial_images import KINDS, adversarial
from benchmark.processes import ProcessStatus
from benchmark.reporting import table_head, table_row
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import MaskDetectorError

SIZES = ("640x480", "1920x1080", "3840x2160", "7680x4320")
WARM_UP = 20

LIMIT_MB, LIMIT_BYTES_A_PIXEL = 200, 12
"""The stated bound: beyond a warm detector and itself, an image may take this many megabytes plus
this many bytes per pixel, with min_face_size 20 (docs/reference/limits.md)."""


def bound_mb(width: int, height: int) -> float:
    """The bound on the megabytes (2**20 bytes) that one image may take, including the image
    itself."""
    return LIMIT_MB + (LIMIT_BYTES_A_PIXEL + 3) * width * height / 2**20


def measure(width: int, height: int, backend: str, threads: int) -> dict[str, Any]:
    """Measure against the bound: peak memory and time of images of one size; runs in a separate
    process.

    Returns:
        Megabytes: `base` of the warm detector, `peak` over all images, `after` them; and `seconds`
            by kind.
    """
    detector = MaskDetector.load(backend=backend, threads=threads, max_image_pixels=10**9)
    usual = adversarial("faces", 480, 640, 14)
    for _ in range(WARM_UP):
        detector(usual)
    base = ProcessStatus().memory()["VmRSS"]
    Path("/proc/self/clear_refs").write_text("5")
    seconds = {}
    for kind in KINDS:
        image = adversarial(kind, height, width)
        start = time.monotonic()
        detector(image)
        seconds[kind] = round(time.monotonic() - start, 3)
        del image
    peak = ProcessStatus().memory()["VmHWM"]
    for _ in range(WARM_UP):
        detector(usual)
    return {
        "base": base,
        "peak": peak,
        "after": ProcessStatus().memory()["VmRSS"],
        "seconds": seconds,
    }


def run(sizes: Sequence[str], backends: Sequence[str], threads: int) -> int:
    """Measure memory and time for all image sizes and print a table; return 1 if an image exceeded
    the bound."""
    names = ("warm", "peak", "of one image", "bound", "left after", "slowest")
    print(table_head("backend", "images", *names))
    broken = False
    for backend in backends:
        for size in sizes:
            width, height = map(int, size.split("x"))
            command = [sys.executable, "-m", "benchmark.memory_bound", size, backend, str(threads)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise MaskDetectorError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
            found = json.loads(done.stdout.splitlines()[-1])
            taken, limit = found["peak"] - found["base"], bound_mb(width, height)
            kind = max(found["seconds"], key=found["seconds"].get)
            broken |= taken > limit
            cells = [f"{mb:.0f} MB" for mb in (found["base"], found["peak"], taken, limit)]
            if taken > limit:
                cells[-1] += " BROKEN"
            left = f"{found['after'] - found['base']:+.0f} MB"
            slowest = f"{found['seconds'][kind]:.2f} s ({kind})"
            print(table_row(backend, size, *cells, left, slowest), flush=True)
    return int(broken)


if __name__ == "__main__":
    np.seterr(all="ignore")
    across, down = map(int, sys.argv[1].split("x"))
    print(json.dumps(measure(across, down, sys.argv[2], int(sys.argv[3]))))
