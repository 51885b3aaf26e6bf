# SPDX-License-Identifier: Apache-2.0
"""Decode JPEG, PNG and other image files, with bounded size and no output on stderr."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ImageError
from mask_detector_ros.imaging.image_size import FORMATS, MAX_IMAGE_PIXELS, require_decodable
from mask_detector_ros.opencv_log import quiet_opencv

_DECODER_LINE = re.compile(
    rb"^(Corrupt JPEG|Premature end of JPEG|Invalid (JPEG|SOS|component)|Unsupported marker|"
    rb"Inconsistent progression|Warning: unknown JFIF|lib(png|tiff|jpeg|webp)|TIFF\w*:|\[ ?(WARN|"
    rb"ERROR|INFO):|OpenCV\().*\n?|^\n",
    re.MULTILINE,
)
"""Output of OpenCV's decoders; libjpeg and libpng ignore the log level."""

_EXIF_BYTES = 1 << 16
"""Beginning of a JPEG in which its orientation stands."""

_stderr = threading.Lock()


def decode(
    data: bytes, max_pixels: int = MAX_IMAGE_PIXELS, *, upright: bool = False
) -> NDArray[np.uint8]:
    """Decode an image file (JPEG, PNG and others) in memory.

    Alpha is dropped, gray spread to three channels, 16 bits reduced to 8.

    Args:
        max_pixels: maximum width times height in the file's header.
        upright: whether to apply the EXIF orientation.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the data is not an image, is damaged, or is too large.
    """
    require_decodable(data, max_pixels)
    flags = cv2.IMREAD_COLOR | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    with quiet_decoders():
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except (cv2.error, MemoryError) as error:
            raise ImageError(f"cannot decode the image: {str(error).strip()}") from error
    if image is None:
        raise ImageError(f"the image is damaged; it must be a whole {FORMATS}")
    return np.asarray(image, np.uint8)


def original_jpeg(message: Any) -> bytes | None:
    """The JPEG of a compressed image message, if every decoder makes the same image of it.

    None for other messages, and for a JPEG that lacks its end marker, holds a Bayer pattern, or
    names an orientation, which some decoders apply.
    """
    image_format = getattr(message, "format", "bayer_")
    if image_format.startswith("bayer_"):
        return None
    data = bytes(message.data)
    is_whole = data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")
    return data if is_whole and b"Exif\0" not in data[:_EXIF_BYTES] else None


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Like `quiet_opencv`, but also without the lines of image decoders: a damaged camera at 100 Hz
    would fill a disk with them. Other output to stderr is written afterwards."""
    if not hasattr(os, "memfd_create"):
        with quiet_opencv():
            yield
        return
    with _stderr, quiet_opencv():
        try:
            sys.stderr.flush()
            saved, caught = os.dup(2), os.memfd_create("stderr")
        except (OSError, ValueError, AttributeError):  # no descriptors left, or no stderr
            yield
            return
        os.dup2(caught, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            if size := os.lseek(caught, 0, os.SEEK_END):
                os.lseek(caught, 0, os.SEEK_SET)
                if others := _DECODER_LINE.sub(b"", os.read(caught, size)):
                    os.write(2, others)
            os.close(saved)
            os.close(caught)
