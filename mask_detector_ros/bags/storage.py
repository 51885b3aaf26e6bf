# SPDX-License-Identifier: Apache-2.0
"""Common parts of all bag file formats."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lz4.frame
import zstandard

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

MALFORMED = (struct.error, ValueError, LookupError, EOFError, OverflowError, MemoryError)
"""Exceptions that parsing raises on invalid bytes."""

LARGEST_CHUNK = 2 << 30
"""Maximum decompressed bytes of a chunk or message. A larger size is damage or an attack."""

_PIECE = 1 << 12
"""Bytes to decompress per step: a few can expand to hundreds of megabytes."""


class DamageError(Exception):
    """Bytes of a bag are missing or invalid; the message says which."""


class Damage:
    """Damage found while reading a bag, each line once.

    Attributes:
        lines: one sentence each.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def report(self, line: str) -> None:
        """Add a sentence unless it is known, since a file is read more than once."""
        if line not in self.lines:
            self.lines.append(line)


@dataclass(frozen=True)
class Channel:
    """An image topic in one file.

    Attributes:
        topic: its name.
        kind: `IMAGE` or `COMPRESSED`.
        encoding: serialisation of its messages: "cdr" (ROS 2) or "ros1".
        count: number of messages in the file.
    """

    topic: str
    kind: str
    encoding: str
    count: int


class RawMessage(NamedTuple):
    """A serialised message of a bag; `time` is the recording time in nanoseconds."""

    topic: str
    kind: str
    encoding: str
    time: int
    data: bytes


class BagFile(Protocol):
    """A file of a bag."""

    path: Path

    def channels(self) -> list[Channel]:
        """The image channels; other channels are ignored."""

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """The images of these topics, in time order as far as the file is ordered."""


def image_kind(type_name: str) -> str | None:
    """`IMAGE`, `COMPRESSED`, or None for another message type, in the notation of ROS 1 or 2."""
    package, _, rest = type_name.partition("/")
    kind = f"{package}/msg/{rest.removeprefix('msg/')}"
    return kind if kind in (IMAGE, COMPRESSED) else None


def decompress(compression: str, data: bytes, limit: int = LARGEST_CHUNK) -> tuple[bytes, str]:
    """Decompress as much of the data as possible.

    Args:
        compression: "", "none", "zstd", "lz4" or "bz2".
        limit: maximum number of decompressed bytes.

    Returns:
        The bytes, and the error in the rest ("" for none).
    """
    if compression in ("", "none"):
        return data, ""
    machine: Any
    if compression == "zstd":
        machine = zstandard.ZstdDecompressor().decompressobj()
    elif compression == "lz4":
        machine = lz4.frame.LZ4FrameDecompressor()
    elif compression == "bz2":
        import bz2

        machine = bz2.BZ2Decompressor()
    else:
        return b"", f"its compression {compression!r} is unknown"
    out = bytearray()
    try:
        for start in range(0, len(data), _PIECE):
            out += machine.decompress(data[start : start + _PIECE])
            if len(out) > limit:
                return b"", f"it decompresses to more than {limit} bytes"
            if machine.eof:
                return bytes(out), ""
    except (zstandard.ZstdError, RuntimeError, OSError, *MALFORMED) as error:
        return bytes(out), f"its compressed data is damaged ({error})"
    return bytes(out), "its compressed data is cut off"
