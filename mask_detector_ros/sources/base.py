"""What every source of frames has in common."""

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
        image: (H, W, 3) uint8 BGR. Do not draw on it: a looped image is handed out again.
        truth: the faces that are in it, where the source knows them (the sample scene).
        name: what to call it in a file or a table: a file name, or `frame_000012`.
        time: seconds since the source's first frame, by the clock of the video file or stream;
            None where a source has no clock, as a folder of images.
    """

    image: NDArray[np.uint8]
    truth: Faces | None
    name: str
    time: float | None = None


class FrameSource(ABC):
    """Frames, one after the other. Made by `open_source`; a context manager and iterable.

    Attributes:
        live: a camera or stream, whose frames come when they come and which can be lost.
        rate: the frames per second it was made for; None where it has no rate of its own.
        frame_count: how many frames one pass has, as far as its file says; None if unknown.
        skipped: how many frames of this pass could not be read.
        dropped: how many frames of a live source gave way to newer ones.
    """

    live: bool = False
    rate: float | None = None
    frame_count: int | None = None
    skipped: int = 0
    dropped: int = 0

    @abstractmethod
    def read(self) -> Frame | None:
        """The next frame; None after the last one.

        Raises:
            SourceError: a camera or stream was lost, or no file could be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device or file."""

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def frame_name(index: int) -> str:
    """The name of a frame that has no file of its own."""
    return f"frame_{index:06d}"


def read_bgr(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    """The next frame as (H, W, 3) BGR; None where there is none."""
    with quiet_opencv():
        good, image = capture.read()
    if not good:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.asarray(image, np.uint8)
