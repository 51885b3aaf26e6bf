# SPDX-License-Identifier: Apache-2.0
"""Images from bytes without ROS: errors name the wrong field, and truncated JPEGs are rejected."""

from __future__ import annotations

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mask_detector_ros.errors import ImageError
from mask_detector_ros.imaging.encodings import READABLE_ENCODINGS, decode_compressed, decode_image

END = b"\xff\xd9"
FORMS = {
    "baseline": [],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
    "fine": [cv2.IMWRITE_JPEG_QUALITY, 100],
}


def image() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def jpeg(request: pytest.FixtureRequest) -> bytes:
    return cv2.imencode(".jpg", image(), request.param)[1].tobytes()


def message(encoding: str, length: int, step: int) -> SimpleNamespace:
    return SimpleNamespace(
        width=8, height=6, encoding=encoding, is_bigendian=0, step=step, data=bytes(length)
    )


@pytest.mark.parametrize("encoding", READABLE_ENCODINGS)
def test_every_readable_encoding_is_read_without_ros(encoding: str) -> None:
    for step, rows in ((8 * 8, 6), (8, 9), (8, 18)):
        try:
            read = decode_image(message(encoding, step * rows, step))
        except ImageError:
            continue
        assert (read.shape, read.dtype) == ((6, 8, 3), np.uint8)
        return
    pytest.fail("read in no layout")


@pytest.mark.parametrize("encoding", ["yuv444", "nv16", "16UC1"])
def test_an_encoding_that_nobody_knows_is_not_blamed_on_the_length(encoding: str) -> None:
    with pytest.raises(ImageError, match=f"cannot read the encoding '{encoding}'"):
        decode_image(message(encoding, 8 * 9, 8))


def test_depth_is_called_depth() -> None:
    with pytest.raises(ImageError, match="depth, not a colour image"):
        decode_image(message("16UC1", 16 * 6, 16))


@pytest.mark.parametrize("rest", [b"", b"\xff", END + bytes(100), b"\0" * 64])
def test_a_jpeg_without_its_end_marker_is_read(jpeg: bytes, rest: bytes) -> None:
    read = decode_compressed(jpeg.removesuffix(END) + rest, "jpeg")
    np.testing.assert_array_equal(read, decode_compressed(jpeg, "jpeg"))


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("end", [b"", END])
def test_a_jpeg_that_breaks_off_is_rejected_with_the_row(
    jpeg: bytes, kept: float, end: bytes
) -> None:
    with pytest.raises(ImageError, match=r"ends after \d+ of 240 rows"):
        decode_compressed(jpeg[: int(kept * len(jpeg))] + end, "jpeg")


@pytest.mark.parametrize("size", [(240, 320), (37, 41), (3, 5)])
def test_a_grey_image_is_not_taken_for_a_broken_one(size: tuple[int, int]) -> None:
    """libjpeg fills missing parts with the same grey."""
    grey = np.full((*size, 3), 128, np.uint8)
    data = cv2.imencode(".jpg", grey)[1].tobytes()
    np.testing.assert_array_equal(decode_compressed(data.removesuffix(END), "jpeg"), grey)


@pytest.mark.parametrize(
    ("image_format", "depth"),
    [
        ("16UC1; compressedDepth png", "16UC1"),
        ("32FC1; compressedDepth rvl", "32FC1"),
        ("compressedDepth", "compressedDepth"),
        ("16UC1; png compressed", "16UC1"),
    ],
)
def test_a_compressed_depth_image_is_named_as_such(image_format: str, depth: str) -> None:
    data = cv2.imencode(".png", np.full((4, 4), 1000, np.uint16))[1].tobytes()
    with pytest.raises(ImageError, match=re.escape(f"holds distances ({depth})")):
        decode_compressed(data, image_format)


@pytest.mark.parametrize(
    ("alias", "encoding", "length"),
    [
        *(("R8G8B8", "rgb8", 144), ("B8G8R8", "bgr8", 144), ("L8", "mono8", 48)),
        *(
            ("16UC3", "bgr16", 288),
            ("YUYV", "yuyv", 96),
            ("NV12", "nv12", 72),
            ("YU12", "i420", 72),
        ),
    ],
)
def test_other_names_of_an_encoding_are_read_alike(alias: str, encoding: str, length: int) -> None:
    """Of Gazebo, OpenCV and V4L2."""
    data = np.random.default_rng(0).integers(0, 256, length, np.uint8).tobytes()
    sent = SimpleNamespace(width=8, height=6, is_bigendian=0, step=length // 6, data=data)
    read = [
        decode_image(SimpleNamespace(encoding=name, **vars(sent))) for name in (alias, encoding)
    ]
    np.testing.assert_array_equal(*read)


@pytest.mark.parametrize(("step", "missing"), [(0, 0), (32, 8), (32, 0)])
def test_a_step_of_zero_and_a_last_row_without_padding_are_read(step: int, missing: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    rows = np.pad(pixels.reshape(6, 24), ((0, 0), (0, max(step - 24, 0))))
    data = rows.tobytes()[: rows.size - missing]
    sent = SimpleNamespace(width=8, height=6, encoding="bgr8", is_bigendian=0, step=step, data=data)
    np.testing.assert_array_equal(decode_image(sent), pixels)


@pytest.mark.parametrize("name", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"])
@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_a_bayer_pattern_that_was_compressed_has_its_colours(name: str, form: str) -> None:
    """image_transport compresses it as a gray image."""
    pattern = cv2.cvtColor(image(), cv2.COLOR_BGR2GRAY)
    data = cv2.imencode(f".{form}", pattern)[1].tobytes()
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    sent = SimpleNamespace(
        width=320, height=240, encoding=name, is_bigendian=0, step=320, data=stored.tobytes()
    )
    read = decode_compressed(data, f"{name}; {form} compressed ")
    np.testing.assert_array_equal(read, decode_image(sent))
    np.testing.assert_array_equal(decode_compressed(data, form)[..., 0], stored)


def test_colours_that_were_made_of_a_bayer_pattern_stay() -> None:
    data = cv2.imencode(".png", image())[1].tobytes()
    np.testing.assert_array_equal(
        decode_compressed(data, "bayer_rggb8; png compressed bgr8"), image()
    )


@pytest.mark.parametrize("form", ["h264", "hevc", "bgr8; h265", "vp9"])
def test_a_frame_of_a_video_is_named_as_such(form: str) -> None:
    with pytest.raises(ImageError, match=r"is a frame of a .* video; decode the stream first"):
        decode_compressed(b"\0\0\0\1\x67" + bytes(99), form)
