# SPDX-License-Identifier: Apache-2.0
"""Convert images from and to the bytes of `sensor_msgs/Image` and `CompressedImage`.

It uses NumPy and OpenCV, not ROS, and accepts any object with a message's fields, so nodes and bags
share it.
"""

from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ImageError
from mask_detector_ros.imaging.decoding import decode
from mask_detector_ros.imaging.image_size import MAX_IMAGE_PIXELS, require_pixels
from mask_detector_ros.imaging.planar_yuv import PLANAR_ENCODINGS, decode_planar


class ImageMessage(Protocol):
    """The fields of `sensor_msgs/Image` that make up the image."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


class _Encoding(NamedTuple):
    channels: int
    bytes_per_channel: int
    to_bgr: int | None
    """The cv2.cvtColor code to BGR; None if it is BGR already."""


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
# uyvy and yuyv, and cameras still send them. 8UC3 and 8UC4 are OpenCV's own order.
_READABLE = {
    "mono8": _Encoding(1, 1, cv2.COLOR_GRAY2BGR),
    "8UC1": _Encoding(1, 1, cv2.COLOR_GRAY2BGR),
    "mono16": _Encoding(1, 2, cv2.COLOR_GRAY2BGR),
    "bgr8": _Encoding(3, 1, None),
    "8UC3": _Encoding(3, 1, None),
    "rgb8": _Encoding(3, 1, cv2.COLOR_RGB2BGR),
    "bgra8": _Encoding(4, 1, cv2.COLOR_BGRA2BGR),
    "8UC4": _Encoding(4, 1, cv2.COLOR_BGRA2BGR),
    "rgba8": _Encoding(4, 1, cv2.COLOR_RGBA2BGR),
    "bgr16": _Encoding(3, 2, None),
    "rgb16": _Encoding(3, 2, cv2.COLOR_RGB2BGR),
    "bgra16": _Encoding(4, 2, cv2.COLOR_BGRA2BGR),
    "rgba16": _Encoding(4, 2, cv2.COLOR_RGBA2BGR),
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
    **{f"{name}8": _Encoding(1, 1, code) for name, code in _BAYER.items()},
    **{f"{name}16": _Encoding(1, 2, code) for name, code in _BAYER.items()},
}

_ALIASES = {
    **{"R8G8B8": "rgb8", "B8G8R8": "bgr8", "L8": "mono8", "16UC3": "bgr16", "16UC4": "bgra16"},
    **{"YUYV": "yuyv", "YUY2": "yuyv", "UYVY": "uyvy", "NV12": "nv12", "NV21": "nv21"},
    **{"NV24": "nv24", "YU12": "i420", "yuv420p": "i420", "YV12": "yv12"},
}
"""What Gazebo, OpenCV, V4L2 and FFmpeg call encodings."""

_VIDEO_FORMATS = ("h264", "h.264", "avc", "h265", "hevc", "vp8", "vp9", "av1", "mpeg4")
"""Formats of video streams, whose frames depend on earlier ones."""

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_JPEG_MISSING = 128
"""The value in all channels that libjpeg gives to missing pixels."""

_JPEG_BLOCK = 8
"""Side of a block in pixels; a row of blocks with shared chroma is twice as high."""

_JPEG_NOISE = bytes(range(0x13, 0xFB, 3))

_COMPRESSED_FORMATS = {"jpeg": ".jpg", "png": ".png"}

READABLE_ENCODINGS = (*_READABLE, *PLANAR_ENCODINGS)
"""The encodings that `decode_image` reads."""

DEPTH_ENCODINGS = ("16UC1", "16SC1", "32SC1", "32FC1", "64FC1")
"""Encodings of depth images; those of REP 118 are 16UC1, in millimetres, and 32FC1, in metres."""


def decode_message(msg: Any, max_pixels: int = MAX_IMAGE_PIXELS) -> NDArray[np.uint8]:
    """Decode the encoding of an Image (`decode_image`) or CompressedImage (`decode_compressed`)
    message."""
    if hasattr(msg, "encoding"):
        return decode_image(msg, max_pixels)
    return decode_compressed(msg.data, msg.format, max_pixels)


def decode_image(msg: ImageMessage, max_pixels: int = MAX_IMAGE_PIXELS) -> NDArray[np.uint8]:
    """Decode the encoding of an image message to (H, W, 3) uint8 BGR.

    A bgr8 image, with or without padding at the end of its rows, is not copied: the result
    is a read-only view into `msg.data`. For 16 bits a channel the upper 8 are kept (`>> 8`),
    so that the full range maps to the full range whatever the image shows; a camera that
    fills only 12 of 16 bits looks dark, and stretching it by its content would make the
    same face look different from frame to frame.

    Raises:
        ImageError: the image is of zero size or has more than `max_pixels`, its encoding is not
            one of `READABLE_ENCODINGS`, or its `step` or data length does not fit.
    """
    if msg.width == 0 or msg.height == 0:
        raise ImageError(f"the image is {msg.width}x{msg.height}; the camera sent no pixels")
    name = _ALIASES.get(msg.encoding, msg.encoding)
    if name in PLANAR_ENCODINGS:
        require_pixels(msg.width, msg.height, max_pixels)
        return decode_planar(msg.data, msg.width, msg.height, msg.step, name)
    encoding = _READABLE.get(name)
    if encoding is None:
        depth = " (depth, not a colour image)" if msg.encoding in DEPTH_ENCODINGS else ""
        raise ImageError(
            f"cannot read the encoding {msg.encoding!r}{depth}; supported are "
            f"{', '.join(READABLE_ENCODINGS)}"
        )
    pixels = _pixels(msg, encoding)
    require_pixels(msg.width, msg.height, max_pixels)
    if pixels.dtype.itemsize == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    if encoding.to_bgr is not None:
        pixels = cv2.cvtColor(pixels, encoding.to_bgr)
    return pixels


def decode_compressed(
    data: Any, image_format: str, max_pixels: int = MAX_IMAGE_PIXELS
) -> NDArray[np.uint8]:
    """Decode the data of a compressed image message (jpeg, png) to (H, W, 3) uint8 BGR.

    An EXIF orientation is not applied: boxes are in pixels as the camera delivers them, which is
    also what its `camera_info` describes. A JPEG without its end marker is accepted; one that ends
    earlier is not.

    Raises:
        ImageError: the data is not a whole image that OpenCV can decode, its header says more
            than `max_pixels`, or it is a depth image or a frame of a video.
    """
    if depth := depth_of_format(image_format):
        raise ImageError(f"the image holds distances ({depth}); subscribe to a colour image")
    if video := next((n for n in _VIDEO_FORMATS if n in image_format.lower()), ""):
        advice = "decode the stream first, for example with image_transport's republish"
        raise ImageError(f"the image is a frame of a {video} video; {advice}")
    data = bytes(data)
    is_jpeg = data.startswith(_JPEG_START)
    if is_jpeg and not data.endswith(_JPEG_END):
        # Older webcams leave the end marker out; some versions of OpenCV then decode nothing.
        data = data.removesuffix(_JPEG_END[:1]) + _JPEG_END
    try:
        image = decode(data, max_pixels)
    except ImageError as error:
        raise ImageError(
            f"cannot decode the compressed image ({len(data)} bytes, format {image_format!r}):"
            f" {error}"
        ) from error
    if is_jpeg and (image[-_JPEG_BLOCK:, -_JPEG_BLOCK:] == _JPEG_MISSING).all():
        _require_whole_jpeg(data, image, max_pixels)
    return _demosaic(image, image_format)


def _demosaic(image: NDArray[np.uint8], image_format: str) -> NDArray[np.uint8]:
    """The colours of a Bayer pattern that image_transport compressed as a gray image.

    It then writes "bayer_rggb8; jpeg compressed ", but names bgr8 at the end of a colour image.
    """
    name, _, compression = image_format.partition(";")
    encoding = _READABLE.get(name.strip())
    code = None if encoding is None else encoding.to_bgr
    if code is None or code not in _BAYER.values() or min(image.shape[:2]) < 3:
        return image
    if compression.rstrip().endswith(("bgr8", "rgb8")) or (image[..., :1] != image).any():
        return image
    return np.asarray(cv2.cvtColor(image[..., 0], code), np.uint8)


def depth_of_format(image_format: str) -> str:
    """The encoding of a depth image by the `format` of its CompressedImage message; "" for others.

    image_transport writes "16UC1; compressedDepth png", for example.
    """
    encoding = image_format.partition(";")[0].strip()
    if "compressedDepth" in image_format:
        return encoding or "compressedDepth"
    return encoding if encoding in DEPTH_ENCODINGS else ""


def _require_whole_jpeg(data: bytes, image: NDArray[np.uint8], max_pixels: int) -> None:
    """Raise ImageError for a JPEG that ends before its last row of blocks.

    libjpeg fills missing blocks with grey. To detect them, the data is decoded
    again with noise before the end marker: a decoder that has all blocks skips the noise.
    """
    try:
        other = decode(data[: -len(_JPEG_END)] + _JPEG_NOISE + _JPEG_END, max_pixels)
        changed = np.flatnonzero((other != image).any(axis=(1, 2)))
    except ImageError:
        changed = np.zeros(1, np.int64)
    if len(changed) and changed[0] < image.shape[0] - 2 * _JPEG_BLOCK:
        raise ImageError(
            f"the jpeg image ends after {changed[0]} of {image.shape[0]} rows; the publisher must "
            "send whole images (is the camera's connection losing data?)"
        )


def encode_compressed(image: NDArray[np.uint8], image_format: str = "jpeg") -> NDArray[np.uint8]:
    """Encode an (H, W, 3) uint8 BGR image as jpeg or png for a CompressedImage message.

    Raises:
        ImageError: the image has another form or is too large for the format, or the format
            is neither "jpeg" nor "png".
    """
    suffix = _COMPRESSED_FORMATS.get(image_format)
    if suffix is None:
        raise ImageError(
            f"cannot write the format {image_format!r}; use one of {', '.join(_COMPRESSED_FORMATS)}"
        )
    require_bgr(image)
    try:
        encoded, data = cv2.imencode(suffix, image)
    except cv2.error as error:
        raise ImageError(f"cannot write the image as {image_format}: {error.err}") from error
    if not encoded:
        raise ImageError(
            f"cannot write an image of {image.shape[1]}x{image.shape[0]} as {image_format}"
        )
    return np.asarray(data, np.uint8).reshape(-1)


def compressed_format(image_format: str) -> str:
    """The `format` of a CompressedImage message with a BGR image, as image_transport writes it.

    Its subscribers read the order of the channels from it.
    """
    return f"bgr8; {image_format} compressed bgr8"


def _pixels(msg: ImageMessage, encoding: _Encoding) -> NDArray[Any]:
    """A read-only (H, W) or (H, W, C) view of the message's data, without the row padding."""
    if encoding in (_UYVY, _YUYV) and msg.width % 2:
        raise ImageError(
            f"a {msg.encoding} image needs an even width, got {msg.width}: two pixels share chroma"
        )
    if encoding.to_bgr in _BAYER.values() and min(msg.width, msg.height) < 3:
        raise ImageError(
            f"a {msg.encoding} image of {msg.width}x{msg.height} holds no whole pattern; "
            "it must be 3x3 or larger"
        )
    pixel_bytes = encoding.channels * encoding.bytes_per_channel
    row_bytes = msg.width * pixel_bytes
    # Some publishers leave step at 0, and some leave out the padding of the last row.
    step = msg.step or (row_bytes if len(msg.data) == row_bytes * msg.height else 0)
    if len(msg.data) not in (step * msg.height, step * (msg.height - 1) + row_bytes):
        raise ImageError(
            f"the image has {len(msg.data)} bytes, but step {step} x height {msg.height} is "
            f"{step * msg.height}; the publisher must fill step and data to match"
        )
    if step < row_bytes:
        raise ImageError(
            f"step is {step} bytes, but {msg.width} pixels of {msg.encoding} need "
            f"{row_bytes}; the publisher must set step to the bytes of a row"
        )
    order = ">" if msg.is_bigendian else "<"
    shape: tuple[int, ...] = (msg.height, msg.width)
    strides: tuple[int, ...] = (step, pixel_bytes)
    if encoding.channels > 1:
        shape, strides = (*shape, encoding.channels), (*strides, encoding.bytes_per_channel)
    pixels: NDArray[Any] = np.ndarray(
        shape, f"{order}u{encoding.bytes_per_channel}", buffer=msg.data, strides=strides
    )
    pixels.flags.writeable = False
    return pixels


def require_bgr(image: NDArray[np.uint8]) -> None:
    """Raise ImageError unless an image to encode is (H, W, 3) uint8."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(
            f"expected a (height, width, 3) uint8 BGR image that is not empty, got shape "
            f"{image.shape} of {image.dtype}"
        )
