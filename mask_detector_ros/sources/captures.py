"""Videos, network streams and cameras: what OpenCV's VideoCapture reads."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources.base import Frame, FrameSource, frame_name, quiet_opencv
from mask_detector_ros.sources.images import require_file

# FFmpeg's own lines on stderr add nothing to the errors below. OpenCV reads the level once,
# when it first needs FFmpeg; -8 is AV_LOG_QUIET.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

STREAM_TIMEOUT_MS = 5000
"""How long a network stream may be silent before it counts as lost."""


class VideoSource(FrameSource):
    """A video file, local or behind a URL, which has an end."""

    def __init__(self, name: str, loop: bool) -> None:
        self._name = name
        self._loop = loop
        self._index = 0
        self._open()

    def _open(self) -> None:
        self._capture = _open_with_ffmpeg(self._name)
        self._at_start = True
        self.frame_count = _frame_count(self._capture)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        # Variable-rate files answer with the tick of their clock, 90000 for example.
        self.rate = rate if 0 < rate <= 1000 else None

    def read(self) -> Frame | None:
        frame = _read_frame(self._capture, self._index)
        if frame is None and self._at_start:
            raise SourceError(
                f"{without_password(self._name)} holds no frame that can be read; play it in a "
                "viewer, or convert it to mp4 (H.264)"
            )
        if frame is None and self._loop:
            # Opening again works for every container; seeking to the start does not.
            self.close()
            self._open()
            return self.read()
        self._at_start = False
        self._index += 1
        return frame

    def close(self) -> None:
        self._capture.release()


class LiveSource(FrameSource):
    """A camera or a network stream: what it does not send now, nobody will ever see."""

    live = True

    def __init__(self, capture: cv2.VideoCapture, what: str, advice: str) -> None:
        self._capture = capture
        self._lost = f"lost {what}; {advice}"
        self._index = 0

    def read(self) -> Frame:
        frame = _read_frame(self._capture, self._index)
        if frame is None:
            raise SourceError(self._lost)
        self._index += 1
        return frame

    def close(self) -> None:
        self._capture.release()


def open_video(path: Path, loop: bool) -> VideoSource:
    """A video file. Raises SourceError where it is missing or no video."""
    require_file(path)
    # FFmpeg takes some text files for the recording of a terminal and shows their letters.
    if _is_text(path):
        raise SourceError(f"{path} is a text file, not a video; give a video or an image")
    return VideoSource(str(path), loop)


def open_url(url: str, loop: bool) -> FrameSource:
    """A stream, or a video file behind a URL. Raises SourceError where nobody answers."""
    capture = _open_with_ffmpeg(url)
    if _frame_count(capture) is None:
        return LiveSource(
            capture, f"the stream {without_password(url)}", "check the network and its sender"
        )
    capture.release()
    return VideoSource(url, loop)


def open_camera(name: str) -> LiveSource:
    """A V4L2 camera, `/dev/videoN` or N. Raises SourceError where it cannot be opened."""
    device = f"/dev/video{name}" if name.isdecimal() else name
    if not os.path.exists(device):
        present = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
        raise SourceError(
            f"there is no camera {device}; cameras of this machine: {present}. Plug it in or "
            "choose another source"
        )
    with quiet_opencv():
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(
            f"cannot open the camera {device}; close other programs that use it, and check that "
            "you may read it (group video)"
        )
    # Frames that wait in a queue are old when they are read.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return LiveSource(capture, f"the camera {device}", "check its cable")


def is_url(name: str) -> bool:
    """Whether the source is named by a URL."""
    return "://" in name


def is_camera(name: str) -> bool:
    """Whether the source is named as a camera: N, `/dev/videoN`, `/dev/v4l/by-id/...`."""
    return name.isdecimal() or re.fullmatch(r"/dev/(video|v4l/).+", name) is not None


def without_password(name: str) -> str:
    """The name as a log may show it: a URL without its user and password."""
    parts = urlsplit(name) if is_url(name) else None
    if parts is None or "@" not in parts.netloc:
        return name
    return parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]).geturl()


def _open_with_ffmpeg(name: str) -> cv2.VideoCapture:
    timeouts = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        STREAM_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        STREAM_TIMEOUT_MS,
    ]
    with quiet_opencv():
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, timeouts if is_url(name) else [])
    if capture.isOpened():
        return capture
    if is_url(name):
        raise SourceError(
            f"cannot open the stream {without_password(name)}; check the address and that its "
            "sender runs"
        )
    raise SourceError(
        f"{name} is not a video that OpenCV can read; play it in a viewer, or convert it to "
        "mp4 (H.264)"
    )


def _frame_count(capture: cv2.VideoCapture) -> int | None:
    """How many frames the file holds; FFmpeg says 0 or a negative number for a stream."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if count > 0 else None


def _read_frame(capture: cv2.VideoCapture, index: int) -> Frame | None:
    with quiet_opencv():
        good, image = capture.read()
    if not good:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return Frame(np.asarray(image, np.uint8), None, frame_name(index))


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(512)
    return re.fullmatch(rb"[\t\n\r\x1b\x20-\x7e\x80-\xff]+", start) is not None
