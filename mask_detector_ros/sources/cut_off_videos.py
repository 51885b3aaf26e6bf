# SPDX-License-Identifier: Apache-2.0
"""Detect a video file that was cut off, from the length that its container gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_HEAD_BYTES = 2048
"""Bytes that hold several packets of a transport stream."""

_LAST_PAGES = 1 << 17
"""Bytes that hold the last page of an Ogg file, which has at most 65 kB, and most FLV tags."""

_MOVIE_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp")


def is_cut_off(path: Path) -> bool:
    """Whether an MP4, QuickTime, AVI, Matroska, WebM, MPEG transport stream, Ogg or FLV file ends
    before its container does, or inside a packet.

    Other formats, and files without a length such as live recordings, count as complete.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        file.seek(0)
        if start[4:8] in _MOVIE_BOXES:
            return any(end > size for _, _, end in movie_boxes(file, size))
        if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            return 8 + int.from_bytes(start[4:8], "little") > size
        if int.from_bytes(start[:4], "big") == _EBML:
            return _matroska_end(file, size) > size
        head = file.read(_HEAD_BYTES)
        file.seek(max(0, size - _LAST_PAGES))
        tail = file.read()
    if packet := _packet_size(head):
        return size % packet != 0
    if head[:4] == b"OggS":
        return _ends_inside_page(tail)
    if head[:3] == b"FLV":
        # Each tag is followed by its own length (Adobe, Video File Format 10.1, E.3).
        length = int.from_bytes(tail[-4:], "big")
        tag = tail[-4 - length :]
        return length > 0 and int.from_bytes(tag[1:4], "big") + 11 != length
    return False


def _packet_size(head: bytes) -> int:
    """Size of the packets of an MPEG transport stream (ISO/IEC 13818-1), 0 for other files."""
    for size, first in ((188, 0), (192, 4), (204, 0)):
        marks = head[first::size]
        if len(marks) > 3 and set(marks[:-1]) == {0x47}:
            return size
    return 0


def _ends_inside_page(tail: bytes) -> bool:
    """Whether an Ogg file, of which this is the end, ends inside a page (RFC 3533, 6)."""
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def movie_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """To find where a video was cut off: type, begin and end of each box of an MP4 or QuickTime
    file (ISO/IEC 14496-12, 4.2).

    The last one may end after the file.
    """
    place = 0
    while place < size:
        file.seek(place)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if len(header) < 8:
            length = 8
        elif length < 8:  # 0 means up to the end of the file
            length = size - place
        yield header[4:8], place, place + length
        place += length


def _matroska_end(file: BinaryIO, size: int) -> int:
    """End of the segment (RFC 8794, RFC 9559); `size` if it is unknown."""
    while file.tell() < size:
        kind, _ = _variable_integer(file, keep_marker=True)
        length, unknown = _variable_integer(file, keep_marker=False)
        if unknown or kind == 0:
            return size
        if kind == _SEGMENT:
            return file.tell() + length
        file.seek(length, 1)
    return size


def _variable_integer(file: BinaryIO, keep_marker: bool) -> tuple[int, bool]:
    """The value, and whether all its bits are set, which means unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return 0, True
    width = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(width - 1), "big")
    bare = value & ((1 << 7 * width) - 1)
    return (value if keep_marker else bare), bare == (1 << 7 * width) - 1
