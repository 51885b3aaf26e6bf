# SPDX-License-Identifier: Apache-2.0
"""Run `mask-detector` in a separate process, as a user does, and keep its output."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

FAST = ("--threads", "1", "--min-face-size", "60")


def command(name: str, *arguments: object) -> list[str]:
    """The command line of `mask-detector NAME`, on one thread."""
    return [sys.executable, "-m", "mask_detector_ros", name, *map(str, arguments), *FAST]


def run(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command; return the ended process, with its output unless `options` redirect it."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    line = command(name, *arguments)
    return subprocess.run(line, encoding="utf-8", check=False, **(pipes | options))


def wait(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a process; return the rest of its output.

    `communicate` would lose what `readline` has read ahead.
    """
    assert process.stdout is not None
    rest = process.stdout.read()
    process.wait()
    return rest


def limit_files(size: int) -> Callable[[], None]:
    """For `preexec_fn`: limit the size of every file, as on a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def read_video(path: Path) -> list[np.ndarray]:
    """All frames."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (result := capture.read())[0]:
        frames.append(result[1])
    capture.release()
    return frames
