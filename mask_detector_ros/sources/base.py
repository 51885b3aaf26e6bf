"""What every source of frames has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mask_detector_ros.faces import Faces

_LOG_LEVEL_SILENT = 0  # cv::utils::logging::LOG_LEVEL_SILENT


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        image: (H, W, 3) uint8 BGR. Do not draw on it: a looped picture is handed out again.
        truth: the faces that are in it, where the source knows them (the sample scene).
        name: what to call it in a file or a table: a file name, or `frame_000012`.
    """

    image: NDArray[np.uint8]
    truth: Faces | None
    name: str


class FrameSource(ABC):
    """Frames, one after the other. Made by `open_source`; a context manager and iterable.

    Attributes:
        live: a camera or stream, whose frames come when they come and which can be lost.
        rate: the frames per second it was made for; None where it has no rate of its own.
        frame_count: how many frames one pass has, as far as its file says; None if unknown.
    """

    live: bool = False
    rate: float | None = None
    frame_count: int | None = None

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


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from writing to stderr what the caller says better in an error."""
    # OpenCV 4.5 has these functions in cv2 itself, 5 no longer.
    log: Any = getattr(cv2.utils, "logging", cv2) if hasattr(cv2, "utils") else cv2
    level = log.getLogLevel()
    log.setLogLevel(_LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)
