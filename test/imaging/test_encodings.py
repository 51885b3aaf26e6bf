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
