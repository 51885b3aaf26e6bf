# SPDX-License-Identifier: Apache-2.0
"""Read an encoded image's size from its header, and reject those that cost too much to decode.

A JPEG of 947 bytes may claim 12000x12000 pixels, and takes 1.4 GB and many seconds to decode.
"""

import math
import re
import struct
from collections.abc import Callable

from mask_detector_ros.errors import ImageError
from mask_detector_ros.imaging.avif_size import Size, avif_size

MAX_IMAGE_PIXELS = 50_000_000
"""Default of `max_image_pixels`: above 8K video (33 million) and most phone photographs."""

MAX_SCANS = 100
"""Maximum number of scans of a progressive JPEG: encoders make about ten, and each takes as long
as decoding the whole image."""

MAX_FULL_SCANS = 20
"""The same limit for an image of `max_image_pixels`: all scans together take as long as decoding
this many of the largest images."""

MAX_SEGMENTS = 1000
"""Maximum number of segments before a JPEG's frame header: metadata in pieces of 64 kB."""

MAX_CHUNKS = 200_000
"""Maximum number of chunks of a PNG; encoders write some kilobytes to each."""

MAX_TILES = 4096
"""Maximum number of tiles of a JPEG 2000: its decoder takes 12 kB for each, however small."""

_MARKER = re.compile(rb"(?<=\xff)[^\xff\x00]")

FORMATS = "JPEG, PNG, WebP, AVIF, TIFF, JPEG 2000, BMP, GIF or PNM"


def require_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError for an image size of more than `max_pixels`."""
    if width * height > max_pixels:
        raise ImageError(
            f"the image has {width}x{height} pixels, more than max_image_pixels"
            f" ({max_pixels:,}); send smaller images or raise max_image_pixels"
        )


def require_decodable(data: bytes, max_pixels: int) -> None:
    """Raise ImageError for data that is not an image, or whose size costs too much to decode.

    It reads only the header, and accepts only formats whose header it can parse.
    """
    size = encoded_size(data)
    if size is None:
        raise ImageError(
            f"cannot read the size in the image's header ({len(data)} bytes); the data must be a"
            f" whole {FORMATS}"
        )
    require_pixels(*size, max_pixels)
    if data[:2] == b"\xff\xd8":
        scans = data.count(b"\xff\xda")
        allowed = min(MAX_SCANS, MAX_FULL_SCANS * max_pixels // max(math.prod(size), 1))
        if scans > allowed:
            raise ImageError(
                f"the JPEG has {scans} scans, more than {allowed}; send images of an ordinary"
                " encoder"
            )


def encoded_size(data: bytes) -> Size | None:
    """(width, height) from the header of an encoded image; None for an unknown format."""
    for signature, read in _READERS:
        if signature.match(data):
            try:
                return read(data)
            except (struct.error, IndexError, OverflowError):  # it is cut off
                return None
    return None


def _jpeg(data: bytes) -> Size | None:
    """Size from the first frame header; like libjpeg, it skips anything that is not a marker."""
    place = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, place)
        if found is None:
            return None
        marker, place = found[0][0], found.end()
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 3)
            return width, height
        if marker in (0xD9, 0xDA):
            return None
        if marker != 0x01 and not 0xD0 <= marker <= 0xD8:
            (length,) = struct.unpack_from(">H", data, place)
            place += length
    return None


def _png(data: bytes) -> Size | None:
    """Size from the header; None where a chunk claims to be longer than the data.

    OpenCV allocates what a chunk claims: 277 bytes took 4 GB.
    """
    if data[12:16] != b"IHDR":
        return None
    place = 8
    for _ in range(MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, place)
        place += length + 12
        if place > len(data):
            return None
        if kind == b"IEND":
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
    return None


def _webp(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
        return width + 1, height + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return (width & 0x3FFF, height & 0x3FFF) if kind == b"VP8 " else None


def _bmp(data: bytes) -> Size | None:
    is_old = struct.unpack_from("<I", data, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if is_old else "<ii", data, 18)
    return abs(width), abs(height)


def _gif(data: bytes) -> Size | None:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _pnm(data: bytes) -> Size | None:
    gap = rb"(?:\s|#[^\r\n]*[\r\n])+"
    found = re.match(rb"P[1-6]" + gap + rb"(\d{1,9})" + gap + rb"(\d{1,9})\s", data[:4096])
    return (int(found[1]), int(found[2])) if found else None


def _tiff(data: bytes) -> Size | None:
    """Size from the tags 256 and 257 of the first directory, also of BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (place,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
    (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, place)
    step, first = (20, place + 8) if is_big else (12, place + 2)
    sides: dict[int, int] = {}
    for entry in range(first, first + min(count, 4096) * step, step):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (256, 257) and kind in (3, 4, 16):
            form = {3: "H", 4: "I", 16: "Q"}[kind]
            (side,) = struct.unpack_from(order + form, data, entry + (12 if is_big else 8))
            sides[tag] = max(side, sides.get(tag, 0))
    return (sides[256], sides[257]) if len(sides) == 2 else None


def _jpeg2000(data: bytes) -> Size | None:
    """The largest size at what may be the start of a code stream: boxes that decoders skip may hide
    the one that they decode."""
    sizes: list[Size] = []
    for match in re.finditer(b"\xff\x4f\xff\x51", data):
        if len(sizes) == MAX_SEGMENTS:
            return None
        width, height, _, _, *tile = struct.unpack_from(">6I", data, match.end() + 4)
        if math.prod(-(-a // max(b, 1)) for a, b in zip((width, height), tile, strict=True)) > (
            MAX_TILES
        ):
            return None
        sizes.append((width, height))
    return max(sizes, key=math.prod, default=None)


_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Size | None]], ...] = (
    (re.compile(rb"\xff\xd8"), _jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), _tiff),
    (re.compile(rb"BM"), _bmp),
    (re.compile(rb"GIF8[79]a"), _gif),
    (re.compile(rb"P[1-6]"), _pnm),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), _jpeg2000),
    (re.compile(rb"....ftyp", re.DOTALL), avif_size),
)
