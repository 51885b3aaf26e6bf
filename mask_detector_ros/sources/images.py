"""Image files, one or a directory of them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources.base import Frame, FrameSource, quiet_opencv

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

_logger = logging.getLogger(__name__)


class ImagesSource(FrameSource):
    """Image files in the given order; one that cannot be read is skipped with a warning.

    Attributes:
        skipped: how many could not be read in this pass.
    """

    def __init__(self, paths: Sequence[Path], loop: bool) -> None:
        self.frame_count = len(paths)
        self.skipped = 0
        self._paths = paths
        self._loop = loop
        self._next = 0
        self._only_frame: Frame | None = None
        if len(paths) == 1:
            self._only_frame = Frame(read_image(paths[0]), None, paths[0].name)

    def read(self) -> Frame | None:
        while True:
            if self._next == len(self._paths):
                if self.skipped == len(self._paths):
                    raise SourceError(
                        f"none of the {len(self._paths)} images in {self._paths[0].parent} can "
                        "be read; open one in a viewer to see what is wrong"
                    )
                if not self._loop:
                    return None
                self._next = self.skipped = 0
            path = self._paths[self._next]
            self._next += 1
            try:
                return self._only_frame or Frame(read_image(path), None, path.name)
            except SourceError as error:
                self.skipped += 1
                _logger.warning("skipped: %s", error)

    def close(self) -> None:
        self._only_frame = None


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 BGR.

    Alpha is dropped, gray spread to three channels, 16 bits reduced to 8, and the image
    turned as its EXIF orientation says.

    Raises:
        SourceError: the file is missing or is not an image.
    """
    require_file(path)
    # cv2.imread cannot open every Unicode path on every system; numpy can.
    data = np.fromfile(path, np.uint8)
    image = None
    with quiet_opencv():
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        except cv2.error as error:  # a header that promises more pixels than OpenCV allows
            raise SourceError(f"cannot read the image {path}: {error.err}") from error
    if image is None:
        raise SourceError(
            f"{path} is damaged or not an image; open it in a viewer, or leave it out"
        )
    return np.asarray(image, np.uint8)


def is_image(path: Path) -> bool:
    """Whether the name is that of an image; hidden files, such as `._1.jpg`, are not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_images(directory: Path) -> list[Path]:
    """The image files directly in a directory, frame_2 before frame_10.

    Raises:
        SourceError: there is none.
    """
    paths = [path for path in directory.iterdir() if is_image(path) and path.is_file()]
    if not paths:
        raise SourceError(
            f"there is no image in {directory}; give a directory that directly holds files "
            f"ending in {', '.join(IMAGE_SUFFIXES)}"
        )
    return sorted(paths, key=_natural_order)


def require_file(path: Path) -> None:
    """Raises SourceError unless `path` is a file that may be read."""
    if not path.exists():
        raise SourceError(f"{path} does not exist; check the path")
    if not path.is_file():
        raise SourceError(f"{path} is not a file; give an image, a video or a directory")
    if not os.access(path, os.R_OK):
        raise SourceError(f"{path} may not be read by you; change its permissions")


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
