# SPDX-License-Identifier: Apache-2.0
"""BagFile: the interface of all bag file formats, with their common parts."""

import bz2
import os
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import lz4.frame
import zstandard

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

_SKIPPABLE = rb"[\x50-\x5f]\x2a\x4d\x18"
"""Start of a frame without content, with which `pzstd` precedes each of its frames."""

_DECOMPRESSORS: dict[str, tuple[Callable[[], Any], re.Pattern[bytes]]] = {
    "zstd": (
        lambda: zstandard.ZstdDecompressor().decompressobj(),
        re.compile(re.escape(ZSTD_MAGIC) + b"|" + _SKIPPABLE),
    ),
    "lz4": (lz4.frame.LZ4FrameDecompressor, re.compile(rb"\x04\x22\x4d\x18|" + _SKIPPABLE)),
    "bz2": (bz2.BZ2Decompressor, re.compile(b"BZh")),
}
"""Each compression's decompressor of one frame, and how a frame starts."""

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
        """Add a sentence on the bag file's damage unless it is known, since a file is read more
        than once."""
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


class BagFile(ABC):
    """One file of a bag, in any format.

    Attributes:
        others: types of the topics without images, by topic.
    """

    def __init__(self, path: Path, damage: Damage) -> None:
        self.path, self._damage = path, damage
        self.others: dict[str, str] = {}
        self._known: dict[int, Channel] = {}
        """The image channels by number."""

    @abstractmethod
    def _counts(self) -> Mapping[int, int]:
        """Number of messages by channel number; a missing one has none."""

    @abstractmethod
    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Read a bag file's images on these topics, in time order as far as the file is ordered."""

    def channels(self) -> list[Channel]:
        """The image channels of a bag file; other channels are ignored."""
        counts = self._counts()
        return [replace(c, count=counts.get(number, 0)) for number, c in self._known.items()]

    def _learn_channel(self, number: int, topic: str, type_name: str, encoding: str) -> None:
        kind = image_kind(type_name)
        if kind and encoding in ("cdr", "ros1"):
            self._known.setdefault(number, Channel(topic, kind, encoding, 0))
        else:
            self.others[topic] = type_name or "no type"

    def _image(
        self, number: int, time: int, data: bytes, topics: Collection[str]
    ) -> RawMessage | None:
        """A message of a channel; None unless it is an image of one of the topics."""
        channel = self._known.get(number)
        if channel is None or channel.topic not in topics:
            return None
        return RawMessage(channel.topic, channel.kind, channel.encoding, time, data)

    def _report(self, problem: str) -> None:
        self._damage.report(f"{self.path.name}: {problem}")


def image_kind(type_name: str) -> str | None:
    """`IMAGE`, `COMPRESSED`, or None for another message type of a bag file, in the notation of ROS
    1, ROS 2 or DDS."""
    # Recorders of DDS write sensor_msgs::msg::dds_::Image_.
    name = re.sub(r"::msg::dds_::(\w+)_$", r"/\1", type_name)
    package, _, rest = name.partition("/")
    kind = f"{package}/msg/{rest.removeprefix('msg/')}"
    return kind if kind in (IMAGE, COMPRESSED) else None


def decompress(compression: str, data: bytes, limit: int = LARGEST_CHUNK) -> tuple[bytes, str]:
    """Decompress as much of a bag file's data as possible.

    Args:
        compression: "", "none", "zstd", "lz4" or "bz2".
        limit: maximum number of decompressed bytes.

    Returns:
        The bytes, and the error in the rest ("" for none).
    """
    if compression in ("", "none"):
        return data, ""
    out = bytearray()
    try:
        for piece in decompressed(compression, BytesIO(data)):
            out += piece
            if len(out) > limit:
                return b"", f"it decompresses to more than {limit} bytes"
    except DamageError as error:
        return bytes(out), str(error)
    return bytes(out), ""


def is_zstd(start: bytes) -> bool:
    """Whether a bag file that starts with these bytes is compressed by zstd."""
    return _DECOMPRESSORS["zstd"][1].match(start) is not None


def decompressed(compression: str, file: BinaryIO) -> Iterator[bytes]:
    """Yield the decompressed bytes of a bag file piece by piece. The file may have several frames.

    Raises:
        DamageError: the compression is unknown, or the rest is damaged or cut off.
    """
    if compression not in _DECOMPRESSORS:
        raise DamageError(f"its compression {compression!r} is unknown")
    make, frame_start = _DECOMPRESSORS[compression]
    while True:
        machine = make()
        while not machine.eof:
            if not (piece := file.read(_PIECE)):
                raise DamageError("its compressed data is cut off")
            try:
                yield machine.decompress(piece)
            except (zstandard.ZstdError, RuntimeError, OSError, *MALFORMED) as error:
                raise DamageError(f"its compressed data is damaged ({error})") from error
        file.seek(-len(machine.unused_data or b""), os.SEEK_CUR)
        start = file.read(4)
        if not frame_start.match(start):
            return
        file.seek(-len(start), os.SEEK_CUR)
