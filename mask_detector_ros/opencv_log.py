# SPDX-License-Identifier: Apache-2.0
"""Silence the lines of OpenCV and other libraries on stderr, which duplicate this package's
errors."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

_LOG_LEVEL_SILENT = 0  # cv::utils::logging::LOG_LEVEL_SILENT


class _Quiet:
    """Sets OpenCV's log level while at least one thread wants silence."""

    lock = threading.Lock()
    users = 0
    level = 0


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from writing to stderr."""
    # OpenCV 4.5 has these functions in cv2 itself, 5 no longer.
    log: Any = getattr(cv2.utils, "logging", cv2) if hasattr(cv2, "utils") else cv2
    with _Quiet.lock:
        if not _Quiet.users:
            _Quiet.level = log.getLogLevel()
            log.setLogLevel(_LOG_LEVEL_SILENT)
        _Quiet.users += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.users -= 1
            if not _Quiet.users:
                log.setLogLevel(_Quiet.level)


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Suppress what native code writes to stderr, such as FFmpeg in OpenCV, which ignores the log
    level, or TensorFlow on its import."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
