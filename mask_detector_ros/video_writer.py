"""Writing frames into an mp4 file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import SourceError

FOURCC = "mp4v"
"""MPEG-4 part 2: the one mp4 codec that every build of OpenCV can write."""


class VideoWriter:
    """An mp4 file that takes its size from the first frame.

    Args:
        path: the file; its folder is made.
        rate: frames a second.

    Raises:
        SourceError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self.rate = rate
        self.frame_count = 0
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._is_new = not path.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("ab").close()
        except OSError as error:
            raise SourceError(f"cannot write {path} ({error.strerror})") from error

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a (H, W, 3) BGR frame; one of another size is scaled to that of the first."""
        if self._writer is None:
            # The codec takes even sizes only.
            self._size = (max(image.shape[1] // 2 * 2, 2), max(image.shape[0] // 2 * 2, 2))
            fourcc = cv2.VideoWriter.fourcc(*FOURCC)
            self._writer = cv2.VideoWriter(str(self.path), fourcc, self.rate, self._size)
            if not self._writer.isOpened():
                raise SourceError(f"OpenCV cannot write {self.path}; give a name that ends in .mp4")
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        self._writer.write(image)
        self.frame_count += 1

    def close(self) -> None:
        """Finish the file. Without a frame none is made, and one of that name stays."""
        if self._writer is not None:
            self._writer.release()
        elif self._is_new:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
