# SPDX-License-Identifier: Apache-2.0
"""Identify image files by their first bytes, and read those that OpenCV cannot with Pillow."""

import io

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ImageError
from mask_detector_ros.imaging.image_size import require_pixels

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
)


def format_name(start: bytes) -> str:
    """Identify the format of an image from its first 64 bytes or so; empty if unknown."""
    if start[4:8] == b"ftyp":
        brands = {start[8:12], *(start[i : i + 4] for i in range(16, len(start) - 3, 4))}
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        return "HEIC" if brands & set(_HEIC_BRANDS) else ""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    return next((name for signature, name in _SIGNATURES if start.startswith(signature)), "")


def read_with_pillow(data: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """Decode an image file of a format that OpenCV lacks with Pillow to upright (H, W, 3) BGR; None
    if Pillow is missing or fails.

    HEIC needs pillow-heif (`pip install pillow-heif`).

    Raises:
        ImageError: the image has more than `max_pixels`.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        return None
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    try:
        with Image.open(io.BytesIO(data)) as image:
            require_pixels(image.width, image.height, max_pixels)
            rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.uint8)
    except ImageError:
        raise
    except (
        *(UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError),
    ):
        return None
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)
