# SPDX-License-Identifier: Apache-2.0
"""Videos, network streams and cameras as sources, read by OpenCV's VideoCapture."""

import glob
import os
import re
from pathlib import Path

import cv2

from mask_detector_ros.errors import SourceError
from mask_detector_ros.opencv_log import quiet_opencv
from mask_detector_ros.redaction import without_password
from mask_detector_ros.sources.base import Frame, FrameSource, frame_name, read_bgr
from mask_detector_ros.sources.cut_off_videos import is_cut_off
from mask_detector_ros.sources.images import require_file
from mask_detector_ros.sources.live import LiveSource
from mask_detector_ros.sources.sound_files import holds_only_sound
from mask_detector_ros.sources.stream_diagnosis import why_unplayable
from mask_detector_ros.sources.urls import is_url, playable, scheme_of

# FFmpeg's own lines on stderr add nothing to the errors below. OpenCV reads the level once,
# when it first needs FFmpeg; -8 is AV_LOG_QUIET.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

STREAM_TIMEOUT_MS = 5000
"""Timeouts in milliseconds for a server: for the first answer, and for silence afterwards."""

MAX_RATE = 1000.0
"""Maximum plausible rate in Hz: files with a variable rate report the tick of their clock, such as
90000."""

MISSING_SHARE = 0.02
"""Fraction of the announced frames that may be missing: edit lists skip some on purpose."""


class VideoSource(FrameSource):
    """A video file with an end, local or at a URL.

    Attributes:
        path: the local file; None for a URL.
    """

    def __init__(self, path: Path | None, url: str, loop: bool) -> None:
        self.path = path
        # FFmpeg interprets a relative name with a colon as a URL.
        self._name = url if path is None else str(path.absolute())
        self._shown = without_password(url) if path is None else str(path)
        self._loop = loop
        self._index = 0
        self._offset = self._time = 0.0
        self._open()

    def _open(self) -> None:
        self._capture = _open_with_ffmpeg(self._name, self._shown)
        self._read = 0
        self.frame_count = _frame_count(self._capture)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= MAX_RATE else None

    def read(self) -> Frame | None:
        image = read_bgr(self._capture)
        if image is None and not self._read:
            raise SourceError(
                f"{self._shown} holds no frame that can be read; play it in a viewer, or convert "
                "it to mp4 (H.264)"
            )
        if image is None and self._loop:
            # Opening again works for every container; seeking to the start does not.
            self.close()
            self._open()
            self._offset = self._time + 1 / (self.rate or 25.0)
            return self.read()
        if image is None:
            self._count_missing()
            return None
        frame = Frame(image, None, frame_name(self._index), self._next_time())
        self._read += 1
        self._index += 1
        return frame

    def _next_time(self) -> float:
        """Time of the next frame by the container's clock, in seconds; frames need not be evenly
        spaced."""
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._read == 0:
            self._first = position
        time = self._offset + position - self._first
        if self._index and time <= self._time:
            time = self._time + 1 / (self.rate or 1000.0)
        self._time = time
        return time

    def _count_missing(self) -> None:
        # For other containers FFmpeg estimates the number from a duration that sound may extend.
        exact = self._name.lower().endswith((".mp4", ".m4v", ".mov", ".avi", ".3gp"))
        cut_off = self.path is not None and is_cut_off(self.path)
        missing = max((self.frame_count or 0) - self._read, 0)
        promised = self.frame_count or 0
        if cut_off or (exact and missing > max(2, MISSING_SHARE * promised)):
            self.skipped = max(missing, 1)

    def close(self) -> None:
        self._capture.release()


def open_video(path: Path, loop: bool) -> VideoSource:
    """Open a video file with OpenCV. Raises SourceError if it is missing or not a video."""
    require_file(path)
    # FFmpeg takes some text files for terminal recordings and renders their letters.
    if _is_text(path):
        raise SourceError(f"{path} is a text file, not a video; give a video or an image")
    if holds_only_sound(path):
        raise SourceError(f"{path} holds sound and no video; give a video or an image")
    try:
        return VideoSource(path, str(path), loop)
    except SourceError as error:
        if is_cut_off(path):
            raise SourceError(
                f"{path} was cut off before its end, where its index is; copy or record it again"
            ) from error
        raise


def open_url(url: str, loop: bool, every_frame: bool) -> FrameSource:
    """Open a stream, or a video file at a URL, with OpenCV. Raises SourceError if there is no
    answer."""
    address, shown = playable(url), without_password(url)
    capture = _open_with_ffmpeg(address, shown)
    if _frame_count(capture) is None:
        is_jpeg = int(capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG")
        return LiveSource(
            capture,
            f"the stream {shown}",
            "check the network and its sender",
            every_frame,
            has_clock=not (is_jpeg and scheme_of(url).startswith("http")),
        )
    capture.release()
    return VideoSource(None, address, loop)


def open_camera(name: str, every_frame: bool) -> LiveSource:
    """Open a V4L2 camera, `/dev/videoN` or N, with OpenCV. Raises SourceError if it cannot be
    opened."""
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
    return LiveSource(capture, f"the camera {device}", "check its cable", every_frame)


def _open_with_ffmpeg(name: str, shown: str) -> cv2.VideoCapture:
    parameters = []
    if is_url(name):
        parameters = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT_MS),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT_MS),
        ]
        if hasattr(cv2, "CAP_PROP_N_THREADS"):
            # Each further decoder thread delays the frames by one.
            parameters += [cv2.CAP_PROP_N_THREADS, 1]
    with quiet_opencv():
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, parameters)
    if capture.isOpened():
        return capture
    if is_url(name):
        raise SourceError(f"cannot open the stream {shown}: {why_unplayable(name)}")
    raise SourceError(
        f"{shown} is not a video that OpenCV can read; play it in a viewer, or convert it to "
        "mp4 (H.264)"
    )


def _frame_count(capture: cv2.VideoCapture) -> int | None:
    """Number of frames in the file; FFmpeg gives 0 or a negative number for a stream."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if count > 0 else None


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(512)
    return re.fullmatch(rb"[\t\n\r\x1b\x20-\x7e\x80-\xff]+", start) is not None
