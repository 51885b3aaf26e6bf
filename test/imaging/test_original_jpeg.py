# SPDX-License-Identifier: Apache-2.0
"""Which compressed messages hold a JPEG that may be handed on as it is."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mask_detector_ros.imaging.decoding import original_jpeg

IMAGE = np.zeros((16, 16, 3), np.uint8)
JPEG = cv2.imencode(".jpg", IMAGE)[1].tobytes()
PNG = cv2.imencode(".png", IMAGE)[1].tobytes()
TURNED = JPEG[:2] + b"\xff\xe1\x00\x08Exif\0\0" + JPEG[2:]


@pytest.mark.parametrize(
    ("image_format", "data", "is_original"),
    [
        ("jpeg", JPEG, True),
        ("bgr8; jpeg compressed bgr8", JPEG, True),
        ("", JPEG, True),
        ("jpeg", PNG, False),
        ("jpeg", JPEG[:-2], False),
        ("jpeg", TURNED, False),
        ("bayer_rggb8; jpeg compressed ", JPEG, False),
        ("jpeg", b"", False),
    ],
)
def test_only_a_whole_jpeg_that_all_decoders_read_alike(image_format, data, is_original):
    message = SimpleNamespace(format=image_format, data=data)
    assert original_jpeg(message) == (data if is_original else None)


def test_a_raw_image_has_none():
    assert original_jpeg(SimpleNamespace(encoding="bgr8", data=b"abc")) is None
