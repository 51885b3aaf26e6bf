# SPDX-License-Identifier: Apache-2.0
"""Images to messages and back, compared with references in plain NumPy."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2 messages")

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mask_detector_ros.errors import ImageError
from mask_detector_ros.imaging.encodings import READABLE_ENCODINGS, decode_message
from mask_detector_ros.imaging.planar_yuv import PLANAR_ENCODINGS
from mask_detector_ros.ros.conversions import (
    WRITABLE_ENCODINGS,
    image_to_compressed,
    image_to_message,
)

HEADER = Header(frame_id="camera")
HEADER.stamp.sec, HEADER.stamp.nanosec = 12, 345678901

COLOR_ORDERS = {
    **{name: [0, 1, 2] for name in ("bgr8", "8UC3", "bgra8", "8UC4", "bgr16", "bgra16")},
    **{name: [2, 1, 0] for name in ("rgb8", "rgba8", "rgb16", "rgba16")},
}
UYVY, YUYV = ("uyvy", "yuv422"), ("yuyv", "yuv422_yuy2")

sizes = st.integers(1, 9)
paddings = st.integers(0, 7)
images = st.tuples(sizes, sizes).flatmap(lambda s: arrays.arrays(np.uint8, (*s, 3)))


def message(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    """A message of (H, W, ...) pixels, in their byte order, with `padding` bytes per row."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    big = pixels.dtype.byteorder == ">" or (
        pixels.dtype.byteorder == "=" and sys.byteorder == "big"
    )
    return Image(
        header=HEADER,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=rows.tobytes(),
    )


def spread(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[:, :, np.newaxis], 3, axis=2)


@given(images, st.sampled_from(WRITABLE_ENCODINGS[:-1]))
def test_a_written_color_image_reads_back_the_same(image, encoding):
    msg = image_to_message(image, HEADER, encoding)
    assert msg.header == HEADER
    assert (msg.height, msg.width, msg.encoding) == (*image.shape[:2], encoding)
    assert len(msg.data) == msg.step * msg.height
    np.testing.assert_array_equal(decode_message(msg), image)


@given(images)
def test_a_gray_image_reads_back_as_its_luminance(image):
    msg = image_to_message(image, HEADER, "mono8")
    luminance = image @ np.array([0.114, 0.587, 0.299])  # ITU-R BT.601
    assert np.abs(decode_message(msg) - spread(luminance)).max() <= 1


@given(images)
def test_an_image_that_is_not_contiguous_is_written_as_seen(image):
    for view in (image[::-1], image[:, ::-1], image[::2, ::2], image[:, :, ::-1]):
        np.testing.assert_array_equal(decode_message(image_to_message(view, HEADER)), view)


@given(images, st.sampled_from(sorted(COLOR_ORDERS)), paddings)
def test_color_is_read_with_any_padding(image, encoding, padding):
    pixels = image[:, :, COLOR_ORDERS[encoding]]
    if "a" in encoding or encoding == "8UC4":
        alpha = np.full((*image.shape[:2], 1), 9, np.uint8)
        pixels = np.concatenate([pixels, alpha], axis=2)
    pixels = np.ascontiguousarray(pixels)
    if encoding.endswith("16"):
        pixels = pixels.astype(np.uint16) << 8 | 0x7F
    np.testing.assert_array_equal(decode_message(message(pixels, encoding, padding)), image)


@given(arrays.arrays(np.uint8, st.tuples(sizes, sizes)), paddings)
def test_gray_is_spread_to_three_channels(gray, padding):
    for encoding in ("mono8", "8UC1"):
        read = decode_message(message(gray, encoding, padding))
        np.testing.assert_array_equal(read, spread(gray))


@given(arrays.arrays(np.uint16, st.tuples(sizes, sizes)), st.sampled_from("<>"), paddings)
def test_sixteen_bit_gray_keeps_its_upper_byte_in_both_byte_orders(gray, order, padding):
    read = decode_message(message(gray.astype(f"{order}u2"), "mono16", padding))
    np.testing.assert_array_equal(read, spread((gray // 256).astype(np.uint8)))


def yuv_to_bgr(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """ITU-R BT.601, limited range."""
    y, u, v = 1.164 * np.maximum(y - 16.0, 0), u - 128.0, v - 128.0
    bgr = np.stack([y + 2.018 * u, y - 0.813 * v - 0.391 * u, y + 1.596 * v], axis=2)
    return np.clip(bgr, 0, 255)


@given(
    st.tuples(sizes, st.integers(1, 5)).flatmap(lambda s: arrays.arrays(np.uint8, (s[0], s[1], 4))),
    st.sampled_from(UYVY + YUYV),
    paddings,
)
def test_yuv422_shares_the_color_of_two_pixels(pairs, encoding, padding):
    """`pairs` holds U, Y0, V, Y1 (UYVY) or Y0, U, Y1, V (YUYV) of two neighbours."""
    height, half = pairs.shape[:2]
    u, y0, v, y1 = (0, 1, 2, 3) if encoding in UYVY else (1, 0, 3, 2)
    luma = pairs[:, :, [y0, y1]].reshape(height, 2 * half)
    expected = yuv_to_bgr(luma, *(pairs[:, :, [i, i]].reshape(luma.shape) for i in (u, v)))
    read = decode_message(message(pairs.reshape(height, 2 * half, 2), encoding, padding))
    assert np.abs(read - expected).max() <= 2


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("dtype", [np.uint8, "<u2", ">u2"])
def test_an_evenly_colored_bayer_image_gives_its_color(pattern, dtype):
    color = {"b": 40, "g": 90, "r": 200}
    tile = np.array([color[letter] for letter in pattern]).reshape(2, 2)
    bits = 8 * np.dtype(dtype).itemsize
    mosaic = (np.tile(tile, (4, 5)) << (bits - 8)).astype(dtype)
    read = decode_message(message(mosaic, f"bayer_{pattern}{bits}"))
    np.testing.assert_array_equal(read, np.broadcast_to((40, 90, 200), (8, 10, 3)))


@pytest.mark.parametrize("padding", [0, 6])
def test_bgr_is_read_without_a_copy_and_cannot_be_written_to(padding):
    msg = message(np.zeros((4, 5, 3), np.uint8), "bgr8", padding)
    image = decode_message(msg)
    assert np.shares_memory(image, np.frombuffer(msg.data, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0] = 1


@pytest.mark.parametrize("shape", [(1, 1), (20000, 4), (4, 20000)])
@pytest.mark.parametrize("value", [0, 255])
def test_odd_sizes_all_black_and_all_white_are_images(shape, value):
    image = np.full((*shape, 3), value, np.uint8)
    for encoding in WRITABLE_ENCODINGS:
        np.testing.assert_array_equal(
            decode_message(image_to_message(image, HEADER, encoding)), image
        )


def good() -> Image:
    return message(np.zeros((4, 6, 3), np.uint8), "bgr8")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 0}, "0x4; the camera sent no pixels"),
        ({"height": 0}, "6x0"),
        ({"step": 17, "data": bytes(17 * 4)}, "step is 17 bytes, but 6 pixels of bgr8 need 18"),
        ({"step": 0, "data": b""}, "step is 0 bytes"),
        ({"step": 20}, "has 72 bytes, but step 20 x height 4 is 80"),
        ({"data": bytes(71)}, "has 71 bytes"),
        ({"data": bytes(73)}, "has 73 bytes"),
        ({"data": b""}, "has 0 bytes"),
        ({"width": 2**32 - 1, "height": 2**32 - 1}, "has 72 bytes"),
        ({"width": 2**32 - 1}, "step is 18 bytes"),
        ({"encoding": "yuv422", "width": 5}, "needs an even width, got 5"),
        ({"encoding": "bayer_rggb8", "width": 2, "step": 18}, "must be 3x3 or larger"),
        ({"encoding": "mono16", "width": 10}, "10 pixels of mono16 need 20"),
    ],
)
def test_a_message_that_does_not_fit_is_refused_with_the_reason(changes, reason):
    msg = good()
    for field, value in changes.items():
        setattr(msg, field, value)
    with pytest.raises(ImageError, match=reason):
        decode_message(msg)


@pytest.mark.parametrize("encoding", ["", "bgr9", "BGR8", "jpeg", "32FC1", "16UC1"])
def test_an_unknown_encoding_is_refused_with_the_ones_that_are_supported(encoding):
    msg = message(np.full((4, 6), np.nan, np.float32), encoding)
    with pytest.raises(ImageError) as caught:
        decode_message(msg)
    assert repr(encoding) in str(caught.value)
    assert all(name in str(caught.value) for name in READABLE_ENCODINGS)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6, 3), np.float32),
        np.zeros((0, 6, 3), np.uint8),
    ],
)
def test_only_bgr_uint8_images_are_written(image):
    with pytest.raises(ImageError, match=r"expected a .* uint8 BGR image"):
        image_to_message(image, HEADER)
    with pytest.raises(ImageError, match=r"expected a .* uint8 BGR image"):
        image_to_compressed(image, HEADER)


def test_only_known_encodings_and_formats_are_written():
    image = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(ImageError, match="use one of bgr8, rgb8"):
        image_to_message(image, HEADER, "yuv422")
    with pytest.raises(ImageError, match="use one of jpeg, png"):
        image_to_compressed(image, HEADER, "webp")


@given(images)
def test_png_keeps_every_pixel(image):
    msg = image_to_compressed(image, HEADER, "png")
    assert msg.header == HEADER
    assert msg.format == "bgr8; png compressed bgr8"
    np.testing.assert_array_equal(decode_message(msg), image)


def test_jpeg_keeps_the_picture_almost():
    rows, columns = np.mgrid[0:64, 0:96]
    image = np.stack([2 * columns, 3 * rows, rows + columns], axis=2).astype(np.uint8)
    msg = image_to_compressed(image, HEADER)
    assert msg.format == "bgr8; jpeg compressed bgr8"
    assert np.abs(decode_message(msg).astype(int) - image).mean() < 3


def test_a_compressed_gray_image_is_read_as_bgr():
    gray = np.full((5, 7), 120, np.uint8)
    msg = CompressedImage(format="png", data=cv2.imencode(".png", gray)[1].tobytes())
    np.testing.assert_array_equal(decode_message(msg), spread(gray))


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_compressed_data_that_is_no_image_is_refused(data):
    with pytest.raises(ImageError, match="cannot decode the compressed image"):
        decode_message(CompressedImage(format="jpeg", data=data))


def test_an_image_too_large_for_jpeg_is_refused():
    with pytest.raises(ImageError, match="as jpeg"):
        image_to_compressed(np.zeros((1, 70000, 3), np.uint8), HEADER)


@pytest.fixture
def bridge():
    """cv_bridge with its compiled half: any full ROS has it, the Python wheels do not."""
    boost = "cv_bridge.boost.cv_bridge_boost"
    pytest.importorskip(boost, reason="cv_bridge is not installed", exc_type=ImportError)
    from cv_bridge import CvBridge

    return CvBridge()


def random_pixels(channels: int, dtype: type) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (12, 16, channels))
    return values.astype(dtype)


# cv_bridge knows no planar encodings, no colours by type, and not the short names of packed YUV.
UNKNOWN_TO_CV_BRIDGE = {*PLANAR_ENCODINGS, "8UC1", "8UC3", "8UC4", "uyvy", "yuyv"}


@pytest.mark.parametrize(
    "encoding", [name for name in READABLE_ENCODINGS if name not in UNKNOWN_TO_CV_BRIDGE]
)
def test_cv_bridge_reads_the_same(encoding, bridge):
    channels = 2 if encoding in UYVY + YUYV else 1
    if encoding[:3] in ("bgr", "rgb"):
        channels = 4 if "a" in encoding else 3
    dtype = np.uint16 if encoding.endswith("16") else np.uint8
    msg = message(random_pixels(channels, dtype), encoding)
    theirs = bridge.imgmsg_to_cv2(msg, "bgr8")
    # Of 16 bits, cv_bridge rounds where this keeps the upper byte.
    assert np.abs(decode_message(msg).astype(int) - theirs).max() <= (dtype == np.uint16)
