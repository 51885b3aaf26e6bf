# SPDX-License-Identifier: Apache-2.0
"""Convert images of Python code to the (H, W, 3) uint8 BGR arrays that the detector takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ImageError
from mask_detector_ros.imaging.image_size import MAX_IMAGE_PIXELS, require_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageInput = NDArray[np.uint8] | str | Path | Image
else:
    ImageInput = Any

NEED = "need a (height, width, 3) uint8 BGR image"


def as_bgr(image: Any, rgb: bool = False, max_pixels: int = MAX_IMAGE_PIXELS) -> NDArray[np.uint8]:
    """Convert an image of Python code to BGR; a BGR image is not copied.

    Args:
        image: an array (H, W, 3) of uint8, the path of a file, or a PIL image.
        rgb: whether an array has its channels in RGB order; ignored for files and PIL images.
        max_pixels: larger images are rejected.

    Raises:
        ImageError: it is none of these; the message gives the conversion.
        SourceError: the file cannot be read.
    """
    if isinstance(image, str | Path):
        # Imported here: `sources` imports this package.
        from mask_detector_ros.sources import file_path, read_image

        return read_image(file_path(image), max_pixels)
    # A PIL image, known without importing PIL.
    if any(kind.__module__ == "PIL.Image" for kind in type(image).__mro__):
        from PIL import ImageOps

        require_pixels(image.width, image.height, max_pixels)
        image, rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB")), True
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{NEED}, got {type(image).__name__}{_advice_for_object(image)}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"{NEED}, got {image.dtype} {image.shape}{_advice_for_array(image)}")
    require_pixels(image.shape[1], image.shape[0], max_pixels)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8) if rgb else image


def _advice_for_object(image: Any) -> str:
    if image is None:
        return "; cv2.imread gives None for a file that it cannot read: pass the path itself"
    if hasattr(image, "detach") and hasattr(image, "cpu"):
        return "; convert it: tensor.permute(1, 2, 0).cpu().numpy(), times 255 where it is 0 to 1"
    if isinstance(image, bytes | bytearray | memoryview):
        return "; decode it: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)"
    return "; convert it to a NumPy array, or pass the path of a file or a PIL image"


def _advice_for_array(image: NDArray[Any]) -> str:
    """The conversion for the first mismatch."""
    if image.size == 0:
        return "; it is empty: check how it was cut out or read"
    if image.ndim == 4 and image.shape[3] == 3:
        return "; pass the images of a batch as a list: detector(list(images))"
    if image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        return "; move the channels to the end: image.transpose(1, 2, 0)"
    if image.dtype == np.uint16:
        return "; reduce it to 8 bits: (image >> 8).astype(np.uint8)"
    if image.dtype == np.bool_ or (image.dtype.kind == "f" and image.max() <= 1):
        return "; scale it to 8 bits: (image * 255).round().astype(np.uint8)"
    if image.dtype != np.uint8:
        return "; convert it to 8 bits: image.clip(0, 255).astype(np.uint8)"
    if image.ndim == 2 or image.shape[2] == 1:
        return "; give it three channels: cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)"
    if image.ndim == 3 and image.shape[2] == 4:
        return "; drop its alpha: cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)"
    return "; give it three channels in its last axis"
