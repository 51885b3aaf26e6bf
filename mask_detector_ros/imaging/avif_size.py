# SPDX-License-Identifier: Apache-2.0
"""Read the size that an AVIF decoder will decode.

The sizes in the container (`ispe`) do not bind the decoder: the AV1 bitstream has its own. Boxes as
in ISO/IEC 14496-12 and 23008-12; the bitstream as in section 5.5.1 of the AV1 specification.
"""

import re
import struct
from collections.abc import Iterator
from itertools import islice

MAX_PARTS = 4096
"""Maximum number of boxes, items and bitstream units that are read."""

_SEQUENCE_HEADER = 1

Size = tuple[int, int]
"""Width and height."""


def avif_size(data: bytes) -> Size | None:
    """(width, height) of the largest size in the container and in the bitstream; for an image in
    tiles a size with as many pixels as all tiles. None for an animation or without a bitstream.

    Raises:
        IndexError, struct.error: the data is cut off.
    """
    boxes = dict(_boxes(data))
    meta = boxes.get(b"meta")
    if meta is None or b"moov" in boxes:
        return None
    parts = dict(_boxes(meta[4:]))
    streams = _item_data(parts[b"iloc"], data, parts.get(b"idat", b"")) if b"iloc" in parts else ()
    units = iter(range(MAX_PARTS))
    coded = [size for stream in streams for size in _coded_sizes(stream, units)]
    places = list(islice(re.finditer(b"ispe", meta), MAX_PARTS))
    if not coded or len(places) == MAX_PARTS:
        return None
    said = [struct.unpack_from(">II", meta, place.end() + 4) for place in places]
    width, height = max([*said, *coded], key=lambda size: size[0] * size[1])
    if len(coded) > 2:  # more than an image and its transparency
        height = max(height, -(-sum(w * h for w, h in coded) // max(width, 1)))
    return width, height


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box."""
    place = 0
    for _ in range(MAX_PARTS):
        if place + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, place + 8)
            head = 16
        end = place + length if length else len(data)
        if end < place + head:
            return
        yield kind, data[place + head : end]
        place = end


def _item_data(iloc: bytes, file: bytes, idat: bytes) -> Iterator[bytes]:
    """The data of each item, from the item location box."""
    version = iloc[0]
    sizes = [iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15 if version else 0]
    place = 6

    def number(size: int) -> int:
        nonlocal place
        place += size
        if place > len(iloc):
            raise IndexError
        return int.from_bytes(iloc[place - size : place], "big")

    parts = total = 0
    for _ in range(number(4 if version == 2 else 2)):
        number(4 if version == 2 else 2)  # its number
        method = number(2) & 15 if version else 0
        number(2)  # the file that it is in
        base = number(sizes[2])
        pieces = []
        for _ in range(number(2)):
            if (parts := parts + 1) > MAX_PARTS or total > 2 * len(file):
                raise IndexError  # pieces that overlap again and again
            number(sizes[3])
            start, length = base + number(sizes[0]), number(sizes[1])
            source = idat if method == 1 else file
            pieces.append(source[start : start + length if length else None])
            total += len(pieces[-1])
        yield b"".join(pieces)


def _coded_sizes(stream: bytes, units: Iterator[int]) -> Iterator[Size]:
    """The sizes in the sequence headers of an AV1 bitstream; none of other data.

    `units` has an element for each unit that may still be read.
    """
    place = 0
    while place < len(stream) and not stream[place] & 0x81:  # bits that are 0 in AV1
        if next(units, None) is None:
            raise IndexError
        head = stream[place]
        place += 2 if head & 4 else 1
        length, shift = len(stream) - place, 0
        if head & 2:
            length = 0
            while True:
                byte = stream[place]
                place += 1
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128 or shift > 56:
                    break
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            yield _sequence_size(stream[place : place + min(length, 1024)])
        place += length


def _sequence_size(header: bytes) -> Size:
    """`sequence_header_obu`, up to max_frame_height_minus_1."""
    bits = f"{int.from_bytes(header, 'big'):0{8 * len(header)}b}"
    place = 0

    def number(count: int) -> int:
        nonlocal place
        place += count
        if place > len(bits):
            raise IndexError
        return int(bits[place - count : place] or "0", 2)

    number(3 + 1)  # profile, still_picture
    if number(1):  # reduced header
        number(5)
    else:
        delay_bits = 0
        if number(1):  # timing
            number(64)
            if number(1):  # a variable-length number
                zeros = 0
                while not number(1):
                    zeros += 1
                number(zeros)
            if number(1):  # decoder model
                delay_bits = number(5) + 1
                number(32 + 5 + 5)
        has_display_delay = number(1)
        for _ in range(number(5) + 1):
            number(12)
            if number(5) > 7:
                number(1)
            if delay_bits and number(1):
                number(2 * delay_bits + 1)
            if has_display_delay and number(1):
                number(4)
    widths, heights = number(4) + 1, number(4) + 1
    return number(widths) + 1, number(heights) + 1
