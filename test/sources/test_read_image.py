# SPDX-License-Identifier: Apache-2.0
"""Images of every format become BGR, and other files are named for what they are."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from image_files import picture, save, with_pillow, write_text

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources import open_source, read_image

GRAY16 = np.full((6, 8), 0x8040, np.uint16)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.full((6, 8), 77, np.uint8), (77, 77, 77)),
        (GRAY16, (0x80, 0x80, 0x80)),
        (np.full((6, 8, 4), (10, 20, 30, 0), np.uint8), (10, 20, 30)),
        (np.full((6, 8, 3), (0x1000, 0x2000, 0x3000), np.uint16), (0x10, 0x20, 0x30)),
    ],
    ids=["gray", "16-bit gray", "alpha", "16-bit color"],
)
def test_every_kind_of_image_becomes_bgr_uint8(tmp_path, stored, expected):
    image = read_image(save(tmp_path / "x.png", stored))
    assert image.shape == (6, 8, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[0, 0], expected)


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an APP1 segment that contains only the Orientation tag (0x0112)."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_a_photograph_taken_sideways_is_turned_upright(tmp_path):
    plain = save(tmp_path / "x.jpg", picture(height=10, width=30))
    plain.write_bytes(with_exif_orientation(plain.read_bytes(), 6))
    assert read_image(plain).shape == (30, 10, 3)


def test_a_broken_image_file_says_so(tmp_path):
    with pytest.raises(SourceError, match="damaged or not an image"):
        open_source(write_text(tmp_path / "x.png"))


def test_heic_without_its_package_is_named_as_heic(tmp_path, monkeypatch):
    with_pillow(tmp_path / "a.heic")
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(SourceError, match=r"a HEIC photograph, .*pip install pillow-heif"):
        read_image(tmp_path / "a.heic")


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"8BPS", "Photoshop"), (b"%PDF-1.7", "PDF"), (b"\x89PNG\r\n\x1a\n", "PNG")],
)
def test_an_image_that_nobody_can_read_is_named_by_its_kind(tmp_path, start, kind):
    (tmp_path / "a.jpg").write_bytes(start + bytes(100))
    with pytest.raises(SourceError, match=f"is {kind}, damaged or of a kind that OpenCV cannot"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "it is a web page saved in place of the file"),
        (b"version https://git-lfs.github.com/spec/v1\noid x", "run git lfs pull"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", "is a video; use `mask-detector video`"),
        (b"\x1aE\xdf\xa3\x01\0", "is a video; use `mask-detector video`"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, content, said):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=said):
        read_image(path)
