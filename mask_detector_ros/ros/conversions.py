"""Between image messages and arrays: `sensor_msgs/Image` and `CompressedImage`, both ways.

The encodings cameras commonly send are read here, with numpy and OpenCV alone. Where
`cv_bridge` is installed, which any full ROS has, it reads the others.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mask_detector_ros.errors import ImageError


class _Encoding(NamedTuple):
    channels: int
    bytes_per_channel: int
    to_bgr: int | None
    """The cv2.cvtColor code that makes it BGR; None where it is BGR already."""


# ROS names a Bayer pattern by the pixels of its first two rows, OpenCV by the second row's
# second and third: hence the crossed names.
_BAYER = {
    "bayer_rggb": cv2.COLOR_BayerBG2BGR,
    "bayer_bggr": cv2.COLOR_BayerRG2BGR,
    "bayer_gbrg": cv2.COLOR_BayerGR2BGR,
    "bayer_grbg": cv2.COLOR_BayerGB2BGR,
}
_UYVY = _Encoding(2, 1, cv2.COLOR_YUV2BGR_UYVY)
_YUYV = _Encoding(2, 1, cv2.COLOR_YUV2BGR_YUY2)

# The names of sensor_msgs/image_encodings.hpp; yuv422 and yuv422_yuy2 are the older names of
# uyvy and yuyv, and cameras still send them.
_READABLE = {
    "mono8": _Encoding(1, 1, cv2.COLOR_GRAY2BGR),
    "mono16": _Encoding(1, 2, cv2.COLOR_GRAY2BGR),
    "bgr8": _Encoding(3, 1, None),
    "rgb8": _Encoding(3, 1, cv2.COLOR_RGB2BGR),
    "bgra8": _Encoding(4, 1, cv2.COLOR_BGRA2BGR),
    "rgba8": _Encoding(4, 1, cv2.COLOR_RGBA2BGR),
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
    **{f"{name}8": _Encoding(1, 1, code) for name, code in _BAYER.items()},
    **{f"{name}16": _Encoding(1, 2, code) for name, code in _BAYER.items()},
}

_WRITABLE = {
    "bgr8": None,
    "rgb8": cv2.COLOR_BGR2RGB,
    "bgra8": cv2.COLOR_BGR2BGRA,
    "rgba8": cv2.COLOR_BGR2RGBA,
    "mono8": cv2.COLOR_BGR2GRAY,
}

_COMPRESSED_FORMATS = {"jpeg": ".jpg", "png": ".png"}

READABLE_ENCODINGS = tuple(_READABLE)
"""The encodings `image_from_message` reads without `cv_bridge`."""

WRITABLE_ENCODINGS = tuple(_WRITABLE)
"""The encodings `image_to_message` writes."""


def image_from_message(msg: Image) -> NDArray[np.uint8]:
    """The picture of a `sensor_msgs/Image`, as (H, W, 3) uint8 BGR.

    A bgr8 image, with or without padding at the end of its rows, is not copied: the result
    is a read-only view into `msg.data`. Of 16 bits a channel the upper 8 are kept (`>> 8`),
    so that the full range maps to the full range whatever the picture shows; a camera that
    fills only 12 of 16 bits looks dark, and stretching it by its content would make the
    same face look different from frame to frame.

    Raises:
        ImageError: the image is of zero size, its `step` or data length does not fit, or
            its encoding can be read neither here nor by `cv_bridge`.
    """
    if msg.width == 0 or msg.height == 0:
        raise ImageError(f"the image is {msg.width}x{msg.height}; the camera sent no pixels")
    if len(msg.data) != msg.step * msg.height:
        raise ImageError(
            f"the image has {len(msg.data)} bytes, but step {msg.step} x height {msg.height} is "
            f"{msg.step * msg.height}; the publisher must fill step and data to match"
        )
    encoding = _READABLE.get(msg.encoding)
    if encoding is None:
        return _read_with_cv_bridge(msg)
    pixels = _pixels(msg, encoding)
    if pixels.dtype.itemsize == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    if encoding.to_bgr is not None:
        pixels = cv2.cvtColor(pixels, encoding.to_bgr)
    return pixels


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
    _require_bgr(image)
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
    """The picture of a `sensor_msgs/CompressedImage` (jpeg, png), as (H, W, 3) uint8 BGR.

    An EXIF orientation is not applied: boxes are in pixels as the camera delivers them,
    which is also what its `camera_info` describes.

    Raises:
        ImageError: the data is not an image that OpenCV can decode.
    """
    data = np.frombuffer(msg.data, np.uint8)
    image = None
    if data.size:
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error as error:  # a header that promises more pixels than OpenCV allows
            raise ImageError(f"cannot decode the compressed image: {error.err}") from error
    if image is None:
        raise ImageError(
            f"cannot decode the compressed image ({data.size} bytes, format {msg.format!r}); "
            "the publisher must send whole jpeg or png images"
        )
    return np.asarray(image, np.uint8)


def image_to_compressed(
    image: NDArray[np.uint8], header: Header, image_format: str = "jpeg"
) -> CompressedImage:
    """A `sensor_msgs/CompressedImage` of an (H, W, 3) uint8 BGR image, as jpeg or png.

    Raises:
        ImageError: the image has another form or is too large for the format, or the format
            is neither "jpeg" nor "png".
    """
    suffix = _COMPRESSED_FORMATS.get(image_format)
    if suffix is None:
        raise ImageError(
            f"cannot write the format {image_format!r}; use one of {', '.join(_COMPRESSED_FORMATS)}"
        )
    _require_bgr(image)
    try:
        encoded, data = cv2.imencode(suffix, image)
    except cv2.error as error:
        raise ImageError(f"cannot write the image as {image_format}: {error.err}") from error
    if not encoded:
        raise ImageError(
            f"cannot write an image of {image.shape[1]}x{image.shape[0]} as {image_format}"
        )
    # The format string of image_transport's compressed plugin, so that its subscribers know
    # the order of the channels.
    msg = CompressedImage(header=header, format=f"bgr8; {image_format} compressed bgr8")
    msg.data.frombytes(data.data.cast("B"))
    return msg


def _pixels(msg: Image, encoding: _Encoding) -> NDArray[Any]:
    """A read-only (H, W) or (H, W, C) view of the message's data, without the row padding."""
    if encoding in (_UYVY, _YUYV) and msg.width % 2:
        raise ImageError(
            f"a {msg.encoding} image needs an even width, got {msg.width}: two pixels share "
            "their colour"
        )
    if msg.encoding.startswith("bayer_") and min(msg.width, msg.height) < 3:
        raise ImageError(
            f"a {msg.encoding} image of {msg.width}x{msg.height} holds no whole pattern; "
            "it must be 3x3 or larger"
        )
    pixel_bytes = encoding.channels * encoding.bytes_per_channel
    _require_step(msg, msg.width * pixel_bytes)
    order = ">" if msg.is_bigendian else "<"
    shape: tuple[int, ...] = (msg.height, msg.width)
    strides: tuple[int, ...] = (msg.step, pixel_bytes)
    if encoding.channels > 1:
        shape, strides = (*shape, encoding.channels), (*strides, encoding.bytes_per_channel)
    pixels: NDArray[Any] = np.ndarray(
        shape, f"{order}u{encoding.bytes_per_channel}", buffer=msg.data, strides=strides
    )
    pixels.flags.writeable = False
    return pixels


def _require_step(msg: Image, row_bytes: int) -> None:
    if msg.step < row_bytes:
        raise ImageError(
            f"step is {msg.step} bytes, but {msg.width} pixels of {msg.encoding} need "
            f"{row_bytes}; the publisher must set step to the bytes of a row"
        )


def _require_bgr(image: NDArray[np.uint8]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(
            f"expected a (height, width, 3) uint8 BGR image that is not empty, got shape "
            f"{image.shape} of {image.dtype}"
        )


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
    if bridge is None:
        raise ImageError(
            f"cannot read the encoding {msg.encoding!r}; supported are "
            f"{', '.join(READABLE_ENCODINGS)}, and more where cv_bridge is installed"
        )
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
    _require_step(msg, row_bytes)
    rows = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.step)
    return Image(
        height=msg.height,
        width=msg.width,
        encoding=msg.encoding,
        is_bigendian=msg.is_bigendian,
        step=row_bytes,
        data=rows[:, :row_bytes].tobytes(),
    )
