# SPDX-License-Identifier: Apache-2.0
"""Write frames to a video file that browsers and phones play."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import SourceError
from mask_detector_ros.imaging.scaling import letterbox
from mask_detector_ros.imaging.video_encoders import Encoder, EncodingError, open_encoder
from mask_detector_ros.output_file import OutputFile


class VideoWriter:
    """Writes a video file. Frames of another size are letterboxed.

    It is written to a temporary file, which `close` moves to its path; an older file stays until
    then.

    Args:
        path: the file; its folder is created. The suffix selects the format: H.264 in .mp4, .mov
            and .mkv, VP9 in .webm; VP9 in all of them if neither PyAV nor ffmpeg is installed.
        rate: frames per second.
        size: width and height in pixels, both even; None takes them from the first frame.
        sound: the file whose sound to copy.
        longest_still: maximum seconds that a frame is shown until the next one.

    Attributes:
        frame_count: number of frames written, including frames repeated to keep the time.
        duration: length of the video in seconds.

    Raises:
        SourceError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        rate: float,
        size: tuple[int, int] | None = None,
        sound: Path | None = None,
        longest_still: float = math.inf,
    ) -> None:
        self.path = path
        self.rate = rate
        self.frame_count = 0
        self.duration = 0.0
        self._sound = sound
        self._encoder: Encoder | None = None
        self._size = size
        self._longest_still = longest_still
        self._last_time: float | None = None
        self._shown = 0.0
        self._last_image: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
        self._file = OutputFile(path)

    @property
    def keeps_sound(self) -> bool:
        """Whether the written video keeps the sound of the source, if it has any."""
        return self._encoder is not None and self._encoder.keeps_sound

    def write(self, image: NDArray[np.uint8], time: float | None = None) -> None:
        """Append a (H, W, 3) BGR frame to the video.

        Args:
            time: presentation time in seconds of any clock; None for 1 / rate after the last frame.

        Raises:
            SourceError: the file cannot be written. It is removed; an older one is unchanged.
        """
        # The codecs take even sizes only.
        height, width = (max(side // 2 * 2, 2) for side in image.shape[:2])
        if self._size is None:
            self._size = (width, height)
        if time is None:
            self._shown = self.duration
        elif self._last_time is not None:
            self._shown += min(max(time - self._last_time, 0.0), self._longest_still)
        self._last_time = time
        try:
            if self._encoder is None:
                self._encoder = open_encoder(self._file.partial, self.rate, self._size, self._sound)
            self._append(letterbox(image[:height, :width], self._size))
        except EncodingError as error:
            self._encoder = None
            self._file.discard()
            raise self._failure(error) from error

    def _append(self, image: NDArray[np.uint8]) -> None:
        assert self._encoder is not None
        due = self.frame_count + 1
        if not self._encoder.variable_rate:
            # The last frame is shown until this one's time; of two with the same time the first is
            # kept.
            due = round(self._shown * self.rate) + 1
            for _ in range(self.frame_count, due - 1):
                self._encoder.write(self._last_image, self._shown)
        if due > self.frame_count:
            self._encoder.write(image, self._shown)
        self.frame_count = max(due, self.frame_count)
        self._last_image = image
        self.duration = max(self.duration, self._shown + 1 / self.rate)

    def _failure(self, error: EncodingError) -> SourceError:
        return SourceError(f"cannot write {self.path}: {error}")

    def close(self, complete: bool = True) -> None:
        """Finish the video and move it to its path. Without frames no file is written.

        Args:
            complete: whether it has all frames of the source; otherwise the sound ends with the
                last written frame.

        Raises:
            SourceError: the file is incomplete. It is removed; an older one is unchanged.
        """
        encoder, self._encoder = self._encoder, None
        try:
            if encoder is not None:
                encoder.close(complete)
                self._file.commit()
        except EncodingError as error:
            raise self._failure(error) from error
        finally:
            self._file.discard()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
