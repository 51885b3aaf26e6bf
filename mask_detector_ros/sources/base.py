# SPDX-License-Identifier: Apache-2.0
"""The base class of all frame sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.opencv_log import quiet_opencv

if TYPE_CHECKING:
    from mask_detector_ros.faces import Faces


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a source.

    Attributes:
        image: (H, W, 3) uint8 BGR. Do not modify it: a looped image is returned again.
        truth: the faces in it, if the source knows them (the sample scene).
        name: its name in files and tables: a file name, or `frame_000012`.
        time: seconds since the source's first frame, by the clock of the video file or stream;
            None if the source has no clock, such as a folder of images.
    """

    image: NDArray[np.uint8]
    truth: Faces | None
    name: str
    time: float | None = None


class FrameSource(ABC):
    """The base class of sources, a sequence of frames from `open_source`; a context manager and
    iterable.

    Attributes:
        live: whether it is a camera or stream, which runs in real time and can be lost.
        rate: nominal frame rate in Hz; None if it has none.
        frame_count: number of frames per pass according to the file; None if unknown.
        skipped: number of unreadable frames in this pass.
        dropped: number of frames of a live source that newer ones replaced.
    """

    live: bool = False
    rate: float | None = None
    frame_count: int | None = None
    skipped: int = 0
    dropped: int = 0

    @abstractmethod
    def read(self) -> Frame | None:
        """Read the next frame of any source; None after the last one.

        Raises:
            SourceError: a camera or stream was lost, or no file could be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device or file of any source."""

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def frame_name(index: int) -> str:
    """The name that any source gives to a frame without a file."""
    return f"frame_{index:06d}"


def read_bgr(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    """Read the next frame of an OpenCV capture, for any source, as (H, W, 3) BGR; None if there is
    none."""
    with quiet_opencv():
        good, image = capture.read()
    if not good:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.asarray(image, np.uint8)
