# SPDX-License-Identifier: Apache-2.0
"""Image files with several frames or pages: find them, and read WebP and AVIF animations.

OpenCV's FFmpeg reads GIF and PNG animations, but of WebP and AVIF at most one frame.
"""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mask_detector_ros.errors import ImageError, SourceError
from mask_detector_ros.imaging.image_size import MAX_IMAGE_PIXELS, require_pixels
from mask_detector_ros.sources.base import Frame, FrameSource, frame_name

HEAD_BYTES = 1 << 16
"""Bytes of a file in which the mark of an animation is looked for."""

PILLOW_ANIMATIONS = ("WebP", "AVIF")
"""The formats of `AnimationSource`."""

_DEFAULT_SECONDS = 0.1
"""Duration of a frame that states none, as in browsers."""


def animation_format(head: bytes) -> str:
    """The format of an animation (GIF, WebP, ...) from a file's first `HEAD_BYTES`; empty for one
    image.

    A GIF's second frame may come later: it needs the whole file.
    """
    if head[:4] == b"GIF8":
        return "GIF" if _has_two_frames(head) else ""
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        return "WebP" if head[20:21] and head[20] & 2 else ""
    if head[:4] == b"\x89PNG":
        control = head.partition(b"IDAT")[0].partition(b"acTL")[2][:4]
        return "PNG" if int.from_bytes(control, "big") > 1 else ""
    return "AVIF" if head[4:12] == b"ftypavis" else ""


def describe_others(data: bytes) -> str:
    """Describe what an animation holds besides its first frame, and the remedy; empty for one
    image."""
    if animation := animation_format(data):
        needs = ", with the package pillow" if animation in PILLOW_ANIMATIONS else ""
        return f"an animation; `mask-detector video` reads all frames{needs}"
    return (
        "a file of several pages; save the others as files of their own" if _has_pages(data) else ""
    )


def _has_pages(data: bytes) -> bool:
    """Whether a TIFF file has more than one page."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return False
    try:
        (first,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, first)
        (second,) = struct.unpack_from(f"{order}I", data, first + 2 + 12 * entries)
    except struct.error:
        return False
    return bool(0 < second < len(data))


def _has_two_frames(data: bytes) -> bool:
    """Whether two frames begin in these bytes of a GIF (GIF89a specification, 18 to 24)."""
    frames = 0
    try:
        place = 13 + _color_table(data[10])
        while frames < 2 and data[place] in (0x21, 0x2C):
            is_frame = data[place] == 0x2C
            frames += is_frame
            place += 11 + _color_table(data[place + 9]) if is_frame else 2
            while data[place]:
                place += 1 + data[place]
            place += 1
    except IndexError:
        pass
    return frames > 1


def _color_table(flags: int) -> int:
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


class AnimationSource(FrameSource):
    """The frames of an animation, read with Pillow one after the other.

    Raises:
        SourceError: Pillow is missing, or cannot read the file.
    """

    def __init__(self, path: Path, loop: bool) -> None:
        self._path, self._loop = path, loop
        self._next = self._index = 0
        self._time = 0.0
        try:
            from PIL import Image

            self._image: Any = Image.open(path)
        except (ImportError, OSError, ValueError) as error:
            raise SourceError(
                f"the animation {path} cannot be read; run: pip install -U pillow"
            ) from error
        try:
            require_pixels(*self._image.size, MAX_IMAGE_PIXELS)
            self._image.load()
        except OSError as error:
            raise SourceError(f"{path} is damaged; copy or record it again") from error
        except ImageError as error:
            raise SourceError(f"cannot read {path}: {error}") from error
        self._frames = self.frame_count = int(getattr(self._image, "n_frames", 1))
        self.rate = 1 / self._seconds()

    def _seconds(self) -> float:
        return (self._image.info.get("duration") or 1000 * _DEFAULT_SECONDS) / 1000

    def read(self) -> Frame | None:
        if self._next == self._frames:
            if not self._loop:
                return None
            self._next = 0
        try:
            self._image.seek(self._next)
            rgb = np.asarray(self._image.convert("RGB"), np.uint8)
        except (EOFError, OSError, SyntaxError, ValueError) as error:
            if not self._next:
                raise SourceError(f"{self._path} is damaged; copy or record it again") from error
            self.skipped = self._frames - self._next
            return None
        image = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)
        frame = Frame(image, None, frame_name(self._index), self._time)
        self._time += self._seconds()
        self._next += 1
        self._index += 1
        return frame

    def close(self) -> None:
        self._image.close()
