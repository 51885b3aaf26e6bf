"""Between image messages and arrays: `sensor_msgs/Image` and `CompressedImage`, both ways.

`imaging.encodings` reads the common encodings. The others need `cv_bridge`, which any full ROS has.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mask_detector_ros.errors import ImageError
from mask_detector_ros.imaging.encodings import (
    READABLE_ENCODINGS,
    compressed_format,
    decode_compressed,
    decode_image,
    encode_compressed,
    require_bgr,
    require_step,
    require_whole,
)

_WRITABLE = {
    "bgr8": None,
    "rgb8": cv2.COLOR_BGR2RGB,
    "bgra8": cv2.COLOR_BGR2BGRA,
    "rgba8": cv2.COLOR_BGR2RGBA,
    "mono8": cv2.COLOR_BGR2GRAY,
}

WRITABLE_ENCODINGS = tuple(_WRITABLE)
"""The encodings `image_to_message` writes."""


def image_from_message(msg: Image) -> NDArray[np.uint8]:
    """The picture of a `sensor_msgs/Image`, as (H, W, 3) uint8 BGR; see `decode_image`.

    Raises:
        ImageError: the image is of zero size, its `step` or data length does not fit, or
            its encoding can be read neither here nor by `cv_bridge`.
    """
    if msg.encoding in READABLE_ENCODINGS or _cv_bridge() is None:
        return decode_image(msg)
    require_whole(msg)
    return _read_with_cv_bridge(msg)


def image_to_message(image: NDArray[np.uint8], header: Header, encoding: str = "bgr8") -> Image:
    """A `sensor_msgs/Image` of an (H, W, 3) uint8 BGR image, which need not be contiguous.

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
    # Assigning bytes takes ten times as long, and an array a thousand times: the message
    # then checks or copies value by value.
    msg.data.frombytes(pixels.data.cast("B"))
    return msg


def image_from_compressed(msg: CompressedImage) -> NDArray[np.uint8]:
    """The picture of a `sensor_msgs/CompressedImage`; see `decode_compressed`."""
    return decode_compressed(msg.data, msg.format)


def image_to_compressed(
    image: NDArray[np.uint8], header: Header, image_format: str = "jpeg"
) -> CompressedImage:
    """A `sensor_msgs/CompressedImage` of an (H, W, 3) uint8 BGR image; see `encode_compressed`."""
    data = encode_compressed(image, image_format)
    msg = CompressedImage(header=header, format=compressed_format(image_format))
    msg.data.frombytes(data.data)
    return msg


@cache
def _cv_bridge() -> Any:
    """A CvBridge, or None where cv_bridge or its compiled half is not installed."""
    try:
        from cv_bridge import CvBridge
        from cv_bridge.boost import cv_bridge_boost  # noqa: F401
    # A cv_bridge compiled for another NumPy fails with an AttributeError.
    except (ImportError, AttributeError):
        return None
    return CvBridge()


def _read_with_cv_bridge(msg: Image) -> NDArray[np.uint8]:
    bridge = _cv_bridge()
    try:
        dtype, channels = bridge.encoding_to_dtype_with_channels(msg.encoding)
        row_bytes = msg.width * channels * np.dtype(dtype).itemsize
        image: NDArray[np.uint8] = bridge.imgmsg_to_cv2(_without_padding(msg, row_bytes), "bgr8")
    except ImageError:
        raise
    # CvBridgeError is a TypeError; the others come from its compiled half and from numpy.
    except (TypeError, ValueError, RuntimeError, cv2.error) as error:
        raise ImageError(
            f"cannot read the encoding {msg.encoding!r}: cv_bridge says {error}; supported are "
            f"{', '.join(READABLE_ENCODINGS)}"
        ) from error
    return image


def _without_padding(msg: Image, row_bytes: int) -> Image:
    """The same image in rows of `row_bytes`: cv_bridge garbles padding of half a pixel."""
    require_step(msg, row_bytes)
    rows = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.step)
    return Image(
        height=msg.height,
        width=msg.width,
        encoding=msg.encoding,
        is_bigendian=msg.is_bigendian,
        step=row_bytes,
        data=rows[:, :row_bytes].tobytes(),
    )
