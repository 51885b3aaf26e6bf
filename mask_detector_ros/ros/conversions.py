# SPDX-License-Identifier: Apache-2.0
"""Make image messages of arrays; `imaging.encodings.decode_message` reads them."""

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mask_detector_ros.errors import ImageError
from mask_detector_ros.imaging.encodings import compressed_format, encode_compressed, require_bgr

_WRITABLE = {
    "bgr8": None,
    "rgb8": cv2.COLOR_BGR2RGB,
    "bgra8": cv2.COLOR_BGR2BGRA,
    "rgba8": cv2.COLOR_BGR2RGBA,
    "mono8": cv2.COLOR_BGR2GRAY,
}

WRITABLE_ENCODINGS = tuple(_WRITABLE)
"""The encodings `image_to_message` writes."""


def image_to_message(image: NDArray[np.uint8], header: Header, encoding: str = "bgr8") -> Image:
    """Convert an (H, W, 3) uint8 BGR image, which need not be contiguous, to a `sensor_msgs/Image`.

    Raises:
        ImageError: the image has another form, or the encoding is not one of
            `WRITABLE_ENCODINGS`.
    """
    if encoding not in _WRITABLE:
        raise ImageError(
            f"cannot write the encoding {encoding!r}; use one of {', '.join(_WRITABLE)}"
        )
    require_bgr(image)
    code = _WRITABLE[encoding]
    pixels = np.ascontiguousarray(image if code is None else cv2.cvtColor(image, code))
    msg = Image(
        header=header,
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        step=pixels.nbytes // image.shape[0],
    )
    # Assigning bytes takes ten times as long and an array a thousand times, because the
    # message then checks or copies each value.
    msg.data.frombytes(pixels.data.cast("B"))
    return msg


def image_to_compressed(
    image: NDArray[np.uint8], header: Header, image_format: str = "jpeg"
) -> CompressedImage:
    """Convert an (H, W, 3) uint8 BGR image to a `sensor_msgs/CompressedImage`; see
    `encode_compressed`."""
    data = encode_compressed(image, image_format)
    msg = CompressedImage(header=header, format=compressed_format(image_format))
    msg.data.frombytes(data.data)
    return msg
