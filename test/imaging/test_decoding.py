# SPDX-License-Identifier: Apache-2.0
"""Encoded images: headers are checked before decoding."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.errors import ImageError, SourceError
from mask_detector_ros.imaging.decoding import decode, quiet_decoders
from mask_detector_ros.imaging.encodings import decode_compressed
from mask_detector_ros.imaging.image_size import MAX_SCANS, encoded_size
from mask_detector_ros.sources import read_image

FORMATS = (".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm", ".gif", ".jp2", ".avif")
AVIF = pytest.mark.skipif(not cv2.haveImageWriter("x.avif"), reason="this OpenCV has no AVIF")


def encode(image: np.ndarray, suffix: str, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, image, options)
    assert done
    return data.tobytes()


def image_of(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("suffix", FORMATS)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_the_header_says_the_size_that_is_decoded(suffix: str, width: int, height: int) -> None:
    if suffix == ".jp2":  # has six resolutions
        width, height = width + 32, height + 32
    data = encode(np.zeros((height, width, 3), np.uint8), suffix)
    assert encoded_size(data) == (width, height)
    assert decode(data).shape == (height, width, 3)


@pytest.mark.parametrize(
    "options",
    [
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
        (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    ],
)
def test_every_kind_of_jpeg_is_read(options: tuple[int, int]) -> None:
    data = encode(image_of(70, 50), ".jpg", *options)
    # An application segment with a thumbnail of another size, and fill bytes.
    thumbnail = encode(image_of(9, 8), ".jpg")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    for inserted in (b"", segment, b"\xff\xff\xff" + segment[1:]):
        whole = data[:2] + inserted + data[2:]
        assert encoded_size(whole) == (70, 50)
        assert decode(whole).shape == (50, 70, 3)


def test_lossless_and_transparent_webp() -> None:
    image = np.dstack([image_of(70, 50), np.full((50, 70), 99, np.uint8)])
    for quality in (80, 101):
        assert encoded_size(encode(image, ".webp", cv2.IMWRITE_WEBP_QUALITY, quality)) == (70, 50)


def claim(suffix: str, width: int, height: int) -> bytes:
    """A small file whose header claims a large image."""
    lossy = (cv2.IMWRITE_WEBP_QUALITY, 80) if suffix == ".webp" else ()
    data = bytearray(encode(np.zeros((64, 64, 3), np.uint8), suffix, *lossy))
    if suffix == ".jpg":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    elif suffix == ".png":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif suffix == ".bmp":
        data[18:26] = struct.pack("<ii", width, -height)
    elif suffix == ".webp":
        data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


@pytest.mark.parametrize(
    ("suffix", "width", "height"),
    [
        (".jpg", 12000, 12000),
        (".jpg", 65000, 65000),
        (".png", 12000, 12000),
        (".png", 2**31 - 1, 2**31 - 1),
        (".bmp", 30000, 30000),
        (".webp", 16383, 16383),
    ],
)
def test_a_bomb_is_rejected_before_it_is_decoded(
    suffix: str, width: int, height: int, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    data = claim(suffix, width, height)
    decoded = []
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: decoded.append(arguments))
    for read in (decode, lambda data: decode_compressed(data, "jpeg")):
        start = time.thread_time()
        with pytest.raises(ImageError, match=rf"{width}x{height} pixels, more than max_image_pix"):
            read(data)
        assert time.thread_time() - start < 5
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="max_image_pixels"):
        read_image(path)
    assert decoded == []


def test_a_decompressed_png_bomb_is_rejected() -> None:
    """Given 20000x20000 black pixels in half a megabyte."""
    rows = zlib.compress(bytes(20000 // 8 * 20001), 9)
    head = struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body
        data += struct.pack(">I", zlib.crc32(kind + body))
    with pytest.raises(ImageError, match="20000x20000"):
        decode(data)


@pytest.mark.parametrize("length", [2**32 - 10, 2**31 - 1, 500_000_000, 4000])
def test_a_png_chunk_that_claims_more_than_there_is_is_rejected(length: int) -> None:
    """OpenCV allocates and clears what a chunk claims: 277 bytes took 4 GB."""
    data = encode(image_of(32, 24), ".png")
    place = data.index(b"IDAT") - 4
    claimed = data[:place] + struct.pack(">I", length) + data[place + 4 :]
    with pytest.raises(ImageError, match="cannot read the size"):
        decode(claimed)


def test_a_png_of_endless_chunks_is_rejected_at_once() -> None:
    data = encode(image_of(32, 24), ".png")
    chunk = struct.pack(">I4sI", 0, b"tEXt", zlib.crc32(b"tEXt"))
    start = time.thread_time()
    with pytest.raises(ImageError, match="cannot read the size"):
        decode(data[:33] + chunk * 2_000_000 + data[33:])
    assert time.thread_time() - start < 5


def test_the_limit_is_the_parameter() -> None:
    data = encode(image_of(100, 100), ".jpg")
    assert decode(data, 10_000).shape == (100, 100, 3)
    with pytest.raises(ImageError, match="max_image_pixels \\(9,999\\)"):
        decode(data, 9_999)


def test_a_jpeg_of_thousands_of_scans_is_rejected() -> None:
    data = encode(image_of(64, 64), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    start = data.rindex(b"\xff\xda")
    bomb = data[:start] + data[start:-2] * (MAX_SCANS + 1) + data[-2:]
    with pytest.raises(ImageError, match="scans"):
        decode(bomb)


def test_a_large_jpeg_may_have_fewer_scans_than_a_small_one() -> None:
    data = encode(image_of(64, 64), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    start = data.rindex(b"\xff\xda")
    slow = data[:start] + data[start:-2] * 40 + data[-2:]
    assert decode(slow, 64 * 64 * 10).shape == (64, 64, 3)
    with pytest.raises(ImageError, match="scans, more than 20;"):
        decode(slow, 64 * 64)


def jpeg_2000(*tile: int) -> bytes:
    """A bare code stream of 255x255 pixels with tiles of this size."""
    data = encode(image_of(64, 64), ".jp2")
    stream = bytearray(data[data.index(b"\xff\x4f\xff\x51") :])
    stream[8:16] = struct.pack(">II", 255, 255)
    stream[24:32] = struct.pack(">II", *tile)
    return bytes(stream)


def hidden_jpeg_2000() -> bytes:
    """A file of 400x300 pixels; a box that decoders skip claims 16x16."""
    data = encode(image_of(400, 300), ".jp2")
    decoy = b"\xff\x4f\xff\x51" + struct.pack(">HHII", 41, 0, 16, 16) + bytes(40)
    (length,) = struct.unpack_from(">I", data, 12)
    place = 12 + length
    return data[:place] + struct.pack(">I", 8 + len(decoy)) + b"free" + decoy + data[place:]


def hidden_avif(channels: int) -> bytes:
    """A file whose bitstream has 400x300 pixels; its container claims 16x16."""
    image = np.dstack([image_of(400, 300)] * 2)[..., :channels]
    data = bytearray(encode(image, ".avif", cv2.IMWRITE_AVIF_SPEED, 10))
    for match in re.finditer(b"ispe", bytes(data)):
        data[match.end() + 4 : match.end() + 12] = struct.pack(">II", 16, 16)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        hidden_jpeg_2000(),
        *(pytest.param(hidden_avif(n), marks=AVIF) for n in (3, 4)),
        b"P5 #\r400 300 255\n16 16 255\n" + bytes(120_000),
    ],
    ids=["jp2", "avif", "avif with alpha", "pgm"],
)
def test_the_size_is_the_one_that_is_decoded_not_the_one_that_is_claimed(data: bytes) -> None:
    """Each of these was once decoded although it has more pixels than allowed."""
    assert encoded_size(data) == (400, 300)
    with pytest.raises(ImageError, match="400x300 pixels, more than max_image_pixels"):
        decode(data, 10_000)


def test_a_jpeg_2000_of_too_many_tiles_is_rejected() -> None:
    """65,025 tiles of one pixel took 794 MB."""
    assert decode(jpeg_2000(4, 4)).shape == (255, 255, 3)
    with pytest.raises(ImageError, match="header"):
        decode(jpeg_2000(1, 1))


@AVIF
@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_cut_avif_is_an_error(cut: int) -> None:
    data = encode(image_of(64, 48), ".avif")
    with pytest.raises(ImageError):
        decode(data[:cut])


@AVIF
def test_an_avif_of_overlapping_pieces_is_rejected_at_once() -> None:
    """Thousands of items that share the whole file."""
    items = b"".join(struct.pack(">HHHII", n, 0, 1, 0, 0) for n in range(4000))
    iloc = bytes(4) + b"\x44\0" + struct.pack(">H", 4000) + items
    parts = struct.pack(">I", 8 + len(iloc)) + b"iloc" + iloc
    meta = struct.pack(">I", 12 + len(parts)) + b"meta" + bytes(4) + parts
    start = time.thread_time()
    with pytest.raises(ImageError, match="header"):
        decode(b"\0\0\0\x14ftypavif\0\0\0\0mif1" + meta + b"\x12\0" * 5_000_000)
    assert time.thread_time() - start < 5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8" + b"\xff" * 10_000_000,
        b"no image at all",
        b"\xff\x4f\xff\x51" + b"\xff\x4f\xff\x51" * 5_000_000,
        # The first directory of a BigTIFF beyond any file.
        b"II+\0\x08\0\0\0" + b"\xff" * 8,
    ],
)
def test_what_is_no_image_is_rejected_at_once(data: bytes) -> None:
    start = time.thread_time()
    with pytest.raises(ImageError, match="header"):
        decode(data)
    assert time.thread_time() - start < 5


@pytest.mark.parametrize("suffix", FORMATS)
@given(st.data())
def test_a_damaged_image_is_an_error_or_an_image_and_never_larger_than_the_limit(
    suffix: str, data: st.DataObject
) -> None:
    whole = bytearray(encode(image_of(48, 36), suffix))
    for _ in range(data.draw(st.integers(0, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        image = decode(cut, 100_000)
    except ImageError:
        return
    assert image.shape[0] * image.shape[1] <= 100_000


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_images_write_nothing_to_stderr(
    suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    chance = np.random.default_rng(0)
    whole = np.frombuffer(encode(image_of(80, 60), suffix), np.uint8)
    for _ in range(60):
        data = whole.copy()
        data[chance.integers(8, len(data), 10)] = chance.integers(0, 256, 10)
        with contextlib.suppress(ImageError):
            decode(data[: chance.integers(10, len(data))].tobytes())
    assert capfd.readouterr().err == ""


def test_what_others_write_to_stderr_comes_out(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_decoders():
        os.write(2, b"[INFO] [1.0] [node]: subscribed\nPremature end of JPEG file\n")
    assert capfd.readouterr().err == "[INFO] [1.0] [node]: subscribed\n"
