"""What the files of a bag have in common, whatever their format."""

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
"""What parsing raises where bytes are not what they should be."""

LARGEST_CHUNK = 2 << 30
"""Bytes that a chunk or a message may decompress to. A larger claim is damage, or an attack."""

_PIECE = 1 << 12
"""Bytes to decompress at once: a few can become hundreds of megabytes."""


class DamageError(Exception):
    """Bytes of a bag are missing or wrong; the text says which."""


class Damage:
    """What was found damaged while a bag was read, each line once.

    Attributes:
        lines: one sentence each.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def report(self, line: str) -> None:
        """Keep a sentence that is not known yet: a file is read more than once."""
        if line not in self.lines:
            self.lines.append(line)


@dataclass(frozen=True)
class Channel:
    """A topic with images in one file.

    Attributes:
        topic: its name.
        kind: `IMAGE` or `COMPRESSED`.
        encoding: of its messages: "cdr" (ROS 2) or "ros1".
        count: messages in the file.
    """

    topic: str
    kind: str
    encoding: str
    count: int


class RawMessage(NamedTuple):
    """A message as it lies in a bag; `time` is when it was recorded, in nanoseconds."""

    topic: str
    kind: str
    encoding: str
    time: int
    data: bytes


class BagFile(Protocol):
    """A file of a bag."""

    path: Path

    def channels(self) -> list[Channel]:
        """The channels that carry images. What other channels hold does not matter."""

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """The images of these topics, ordered by time as far as the file is."""


def image_kind(type_name: str) -> str | None:
    """`IMAGE`, `COMPRESSED`, or None for another message type, in the notation of ROS 1 or 2."""
    package, _, rest = type_name.partition("/")
    kind = f"{package}/msg/{rest.removeprefix('msg/')}"
    return kind if kind in (IMAGE, COMPRESSED) else None


def decompress(compression: str, data: bytes, limit: int = LARGEST_CHUNK) -> tuple[bytes, str]:
    """Decompress as far as the data goes.

    Args:
        compression: "", "none", "zstd", "lz4" or "bz2".
        limit: more bytes than these are an error.

    Returns:
        The bytes, and what is wrong with the rest ("" for nothing).
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
