# SPDX-License-Identifier: Apache-2.0
"""Encoders of the video writer: PyAV, an installed ffmpeg, or OpenCV.

H.264 plays in every browser and on every phone; OpenCV's wheels cannot write it. They write VP9,
which browsers play.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.imaging.video_sound import MOVIE_SUFFIXES, Sound
from mask_detector_ros.opencv_log import quiet_opencv, silent_stderr

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")

_TICKS = 90000
_ENCODER_THREADS = "2"


class EncodingError(Exception):
    """The video file was not written completely; the message gives the reason."""


class Encoder(Protocol):
    """Encodes one video file.

    Attributes:
        variable_rate: whether `write` accepts any time; otherwise frames are 1 / rate apart.
        keeps_sound: whether the sound of the source goes into the file.
    """

    variable_rate: bool
    keeps_sound: bool

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Encode a frame of the encoder's size, `time` seconds after the first."""

    def close(self, complete: bool) -> None:
        """Finish the encoder's file. Raises EncodingError if it is incomplete."""


def open_encoder(path: Path, rate: float, size: tuple[int, int], sound: Path | None) -> Encoder:
    """Choose this machine's best encoder for a video file's suffix.

    Args:
        size: width and height in pixels, both even.
        sound: a file whose sound is to be kept.

    Raises:
        EncodingError: the suffix is none of `VIDEO_SUFFIXES`, or the file cannot be written.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise EncodingError(f"give a file name that ends in {', '.join(VIDEO_SUFFIXES)}")
    if find_spec("av") is not None:
        return PyavEncoder(path, rate, size, sound)
    if shutil.which("ffmpeg") is not None:
        return FfmpegEncoder(path, rate, size, sound)
    return OpencvEncoder(path, rate, size)


def encoder_note(path: Path) -> str:
    """What a video loses with this machine's encoders, and the remedy; empty if it loses
    nothing."""
    if find_spec("av") is not None or shutil.which("ffmpeg") is not None:
        return ""
    return (
        f"{path} will be VP9 without sound, since neither PyAV nor ffmpeg is installed; for H.264"
        " and sound run: pip install av"
    )


class PyavEncoder:
    """H.264 in mp4, mov and mkv, VP9 in webm, with the frame times and the sound, through PyAV."""

    variable_rate = True

    def __init__(self, path: Path, rate: float, size: tuple[int, int], sound: Path | None) -> None:
        import av

        self._errors: Any = av.error.FFmpegError
        is_webm = path.suffix.lower() == ".webm"
        # Lets a browser begin to play before it has the whole file.
        options = {"movflags": "+faststart"} if path.suffix.lower() in MOVIE_SUFFIXES else {}
        with self._checked():
            self._file: Any = av.open(str(path.absolute()), "w", options=options)
            name = "libvpx-vp9" if is_webm else "libx264"
            fraction = Fraction(rate).limit_denominator(1001)
            stream: Any = self._file.add_stream(name, rate=fraction)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, _TICKS)
            stream.options = (
                {"deadline": "realtime", "cpu-used": "6", "crf": "32", "b": "0", "row-mt": "1"}
                if is_webm
                else {"preset": "veryfast", "crf": "23", "threads": _ENCODER_THREADS}
            )
            self._video = stream
            self._sound = None if sound is None else Sound(sound, self._file, path.suffix.lower())
        self.keeps_sound = self._sound is not None and self._sound.found
        self._last = -1

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        from av import VideoFrame

        frame = VideoFrame.from_ndarray(image, format="bgr24")
        self._last = max(round(time * _TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        with self._checked():
            self._file.mux(self._video.encode(frame))
            if self._sound is not None:
                self._sound.copy_until(time)

    def close(self, complete: bool) -> None:
        with self._checked():
            self._file.mux(self._video.encode(None))
            if self._sound is not None:
                self._sound.finish(None if complete else self._last / _TICKS)
            self._file.close()

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except (OSError, self._errors) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise EncodingError(reason) from error


class FfmpegEncoder:
    """The same through an installed ffmpeg, which receives the frames through a pipe."""

    variable_rate = False

    def __init__(self, path: Path, rate: float, size: tuple[int, int], sound: Path | None) -> None:
        self._path = path
        self.keeps_sound = sound is not None
        is_webm = path.suffix.lower() == ".webm"
        video: tuple[str, ...] = (
            *("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "6", "-crf", "32"),
            *("-b:v", "0", "-row-mt", "1", "-c:a", "libopus"),
        )
        if not is_webm:
            sound_codec = "copy" if path.suffix.lower() == ".mkv" else "aac"
            video = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-c:a", sound_codec)
        command = [
            *("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"),
            *("-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{size[0]}x{size[1]}"),
            *("-framerate", f"{Fraction(rate).limit_denominator(1001)}", "-i", "pipe:0"),
            *(() if sound is None else ("-i", f"file:{sound.absolute()}")),
            *("-map", "0:v", *(() if sound is None else ("-map", "1:a:0?", "-shortest"))),
            *(*video, "-pix_fmt", "yuv420p"),
            *(("-movflags", "+faststart") if path.suffix.lower() in MOVIE_SUFFIXES else ()),
            f"file:{path.absolute()}",
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl-C is for us: ffmpeg must live to finish the file.
            start_new_session=True,
        )
        self._frames = 0

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(image).data)
        except BrokenPipeError:
            self._process.wait()
            raise self._failure() from None
        self._frames += 1

    def close(self, complete: bool) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.wait():
            raise self._failure()
        require_frames(self._path, self._frames)

    def _failure(self) -> EncodingError:
        assert self._process.stderr is not None
        lines = self._process.stderr.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")
        return EncodingError(f"ffmpeg says: {last}")


class OpencvEncoder:
    """VP9 without sound, which OpenCV's wheels can write and browsers can play."""

    variable_rate = False
    keeps_sound = False

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        self._path = path
        self._frames = 0
        codec = "vp09" if path.suffix.lower() in MOVIE_SUFFIXES else "VP90"
        with silent_stderr():
            self._writer = cv2.VideoWriter(
                str(path.absolute()), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), rate, size
            )
        if not self._writer.isOpened():
            raise EncodingError("OpenCV lacks the encoder; run: pip install av, or install ffmpeg")

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        with quiet_opencv():
            self._writer.write(image)
        self._frames += 1

    def close(self, complete: bool) -> None:
        with silent_stderr():
            self._writer.release()
        # OpenCV reports no failed write: only reading the file again shows a full disk.
        require_frames(self._path, self._frames)


def require_frames(path: Path, count: int) -> None:
    """Raise EncodingError unless an encoded video file holds about this many frames."""
    with silent_stderr():
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
        found = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        # WebM stores a duration, from which the frame count can be off by one. A short file that
        # was cut off has it, too, so one of the last frames must be readable.
        capture.set(cv2.CAP_PROP_POS_FRAMES, max(count - 3, 0))
        if count and not capture.grab():
            found = 0
        capture.release()
    if found < count - 2 or (count and not found):
        raise EncodingError(
            f"{max(found, 0):g} of {count} frames are in the file; is the disk full?"
        )
