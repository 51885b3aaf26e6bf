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
    """An mp4 file. Frames of another size are fitted into it, with black borders.

    Args:
        path: the file; its folder is made.
        rate: frames a second.
        size: width and height in pixels, both even; None takes them from the first frame.

    Raises:
        SourceError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: float, size: tuple[int, int] | None = None) -> None:
        self.path = path
        self.rate = rate
        self.frame_count = 0
        self._writer: cv2.VideoWriter | None = None
        self._size = size
        self._is_new = not path.exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("ab").close()
        except OSError as error:
            raise SourceError(f"cannot write {path} ({error.strerror})") from error

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a (H, W, 3) BGR frame."""
        # The codec takes even sizes only.
        height, width = (max(side // 2 * 2, 2) for side in image.shape[:2])
        if self._size is None:
            self._size = (width, height)
        if self._writer is None:
            self._writer = self._open(self._size)
        self._writer.write(fit(image[:height, :width], self._size))
        self.frame_count += 1

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        fourcc = cv2.VideoWriter.fourcc(*FOURCC)
        writer = cv2.VideoWriter(str(self.path), fourcc, self.rate, size)
        if not writer.isOpened():
            raise SourceError(f"OpenCV cannot write {self.path}; give a name that ends in .mp4")
        return writer

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


def fit(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale an image, keeping its shape, into the middle of a black one of (width, height)."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    scale = min(size[0] / width, size[1] / height)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    x, y = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    canvas[y : y + inner[1], x : x + inner[0]] = cv2.resize(
        image, inner, interpolation=interpolation
    )
    return canvas
