# SPDX-License-Identifier: Apache-2.0
"""Image files as a source: a single one or a directory."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ImageError, SourceError
from mask_detector_ros.foreign_files import find_placeholder
from mask_detector_ros.imaging.decoding import decode
from mask_detector_ros.imaging.image_size import MAX_IMAGE_PIXELS, encoded_size, require_pixels
from mask_detector_ros.sources.animations import describe_others
from mask_detector_ros.sources.base import Frame, FrameSource
from mask_detector_ros.sources.image_formats import format_name, read_with_pillow

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg"),
    *(".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)

_VIDEO_SIGNATURES = (b"\x1aE\xdf\xa3", b"OggS", b"\x00\x00\x01\xba", b"FLV")

MAX_BYTES_PER_PIXEL, MAX_METADATA_BYTES = 8, 1 << 24
"""Bytes of the largest pixel, four channels of 16 bits: a larger file exceeds `max_pixels`."""

_logger = logging.getLogger(__name__)


class ImagesSource(FrameSource):
    """Image files in the given order; one that cannot be read is skipped with a warning.

    Attributes:
        skipped: number of unreadable images in this pass.
        left_out: description of the directory's other content; empty if there is none.
    """

    def __init__(self, paths: Sequence[Path], loop: bool, left_out: str = "") -> None:
        self.frame_count = len(paths)
        self.left_out = left_out
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


def read_image(path: Path, max_pixels: int = MAX_IMAGE_PIXELS) -> NDArray[np.uint8]:
    """Read an image file, as the sources of images do, as (H, W, 3) uint8 BGR.

    Alpha is dropped, gray spread to three channels, 16 bits reduced to 8, and the EXIF orientation
    applied. An animation gives its first frame, with a warning in the log. Formats that OpenCV
    cannot read are tried with Pillow if it is installed; HEIC needs the package pillow-heif.

    Args:
        max_pixels: maximum width times height in the file's header.

    Raises:
        SourceError: the file is missing, is not an image, or is too large.
    """
    require_file(path)
    if path.stat().st_size > (most := MAX_BYTES_PER_PIXEL * max_pixels + MAX_METADATA_BYTES):
        raise SourceError(
            f"{path} has {path.stat().st_size:,} bytes, more than {most:,}; give a smaller image or"
            " raise max_image_pixels"
        )
    # cv2.imread cannot open every Unicode path on every system.
    data = path.read_bytes()
    try:
        if (size := encoded_size(data)) is not None:
            require_pixels(*size, max_pixels)
        image = _decode(data, max_pixels)
        if image is None:
            image = read_with_pillow(data, max_pixels)
    except ImageError as error:
        raise SourceError(f"cannot read {path}: {error}") from error
    if image is None:
        raise SourceError(f"{path} {_why_unreadable(data)}")
    if others := describe_others(data):
        _warn_once(f"only the first frame of {path} is read: it is {others}")
    return image


@lru_cache(maxsize=1000)
def _warn_once(text: str) -> None:
    """Log a warning that a folder played in a loop must not repeat."""
    _logger.warning(text)


def _why_unreadable(data: bytes) -> str:
    """What a file is that neither library decodes, and the remedy."""
    kind = format_name(data[:64])
    if kind == "HEIC":
        return (
            "is a HEIC photograph, which needs the package pillow-heif; run: "
            "pip install pillow-heif, or convert it to JPEG"
        )
    if kind:
        return (
            f"is {kind}, damaged or of a kind that OpenCV cannot read; open it in a viewer, or"
            " leave it out"
        )
    if placeholder := find_placeholder(data[:1024]):
        return f"is not an image: {placeholder}"
    if data[4:8] == b"ftyp" or data.startswith(_VIDEO_SIGNATURES):
        return "is a video; use `mask-detector video`, or open_source in Python"
    if not data:
        return "is empty; copy or record it again"
    return "is damaged or not an image; open it in a viewer, or leave it out"


def _decode(data: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """None for what OpenCV cannot read."""
    try:
        return decode(data, max_pixels, upright=True)
    except ImageError:
        return None


def is_image(path: Path) -> bool:
    """Whether a file name is that of an image; hidden files, such as `._1.jpg`, are not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


@dataclass(frozen=True)
class ImageFolder:
    """The images of a directory, and its other contents.

    Attributes:
        images: its image files, frame_2 before frame_10; those of subfolders after its own.
        others: files that are not images, hidden ones aside.
        subfolders: number of subfolders not searched.
    """

    images: tuple[Path, ...]
    others: tuple[Path, ...]
    subfolders: int

    @property
    def left_out(self) -> str:
        """Describe everything in the image folder that is not an image; empty if there is
        nothing."""
        parts = []
        if self.others:
            names = [os.fsencode(path.name).decode(errors="replace") for path in self.others[:3]]
            more = ", ..." if len(self.others) > 3 else ""
            parts.append(f"{_count(self.others, 'file')} without images ({', '.join(names)}{more})")
        if self.subfolders:
            parts.append(_count(range(self.subfolders), "subfolder"))
        return " and ".join(parts)


def scan_folder(directory: Path, recursive: bool = False) -> ImageFolder:
    """List the image files of a directory, and its other contents.

    Raises:
        SourceError: it cannot be listed, or holds no image.
    """

    def fail(error: OSError) -> None:
        raise SourceError(f"cannot list the folder {directory} ({error.strerror})") from error

    images: list[Path] = []
    others: list[Path] = []
    subfolders = 0
    for folder, folders, files in os.walk(directory, onerror=fail):
        visible = [name for name in folders if not name.startswith(".")]
        folders[:] = sorted(visible, key=natural_order) if recursive else []
        subfolders += 0 if recursive else len(visible)
        for name in sorted(files, key=natural_order):
            path = Path(folder) / name
            if is_image(path):
                images.append(path)
            elif not name.startswith("."):
                others.append(path)
    if not images:
        advice = " or read its subfolders with --recursive" if subfolders else ""
        raise SourceError(
            f"there is no image in {directory}; give a directory that directly holds files "
            f"ending in {', '.join(IMAGE_SUFFIXES)}{advice}"
        )
    return ImageFolder(tuple(images), tuple(others), subfolders)


def list_images(directory: Path) -> list[Path]:
    """List the image files directly in a directory, frame_2 before frame_10.

    Raises:
        SourceError: there is none.
    """
    return list(scan_folder(directory).images)


def require_file(path: Path) -> None:
    """Raise SourceError unless the path of an image or video is a file that may be read."""
    if not path.exists():
        raise SourceError(f"{path} does not exist; check the path")
    if not path.is_file():
        raise SourceError(f"{path} is not a file; give an image, a video or a directory")
    if not os.access(path, os.R_OK):
        raise SourceError(f"you may not read {path}; change its permissions")


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key for the names of image files: frame_10 comes after frame_9."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}{'s' if len(items) != 1 else ''}"
