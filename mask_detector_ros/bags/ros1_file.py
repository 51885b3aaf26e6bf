# SPDX-License-Identifier: Apache-2.0
"""Read images from a ROS 1 bag of format 2.0, indexed or not, intact or damaged.

The format: http://wiki.ros.org/Bags/Format/2.0
"""

import struct
from collections import Counter
from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mask_detector_ros.bags.bag_file import (
    LARGEST_CHUNK,
    MALFORMED,
    BagFile,
    Damage,
    DamageError,
    RawMessage,
    decompress,
)
from mask_detector_ros.errors import SourceError

MAGIC = b"#ROSBAG V"
_VERSION = b"#ROSBAG V2.0\n"
_MESSAGE, _BAG_HEADER, _INDEX, _CHUNK, _CONNECTION = 0x02, 0x03, 0x04, 0x05, 0x07


class _Record(NamedTuple):
    offset: int
    header: dict[bytes, bytes]
    data: bytes
    whole: bool = True

    @property
    def opcode(self) -> int:
        return self.header[b"op"][0]

    def number(self, name: bytes) -> int:
        return int.from_bytes(self.header[name], "little")


class Ros1File(BagFile):
    """A .bag file.

    Raises:
        SourceError: the bag is of an older format, or encrypted.
    """

    def __init__(self, path: Path, damage: Damage) -> None:
        super().__init__(path, damage)
        self._counted = self._count()

    def _counts(self) -> Counter[int]:
        return self._counted

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        for chunk in self._top_records(only=(_CHUNK, _MESSAGE, _CONNECTION)):
            images = [self._message(record, topics) for record in self._unpack(chunk)]
            yield from sorted(filter(None, images), key=lambda message: message.time)

    def _count(self) -> Counter[int]:
        """Number of messages of each connection, from the index if there is one."""
        with self.path.open("rb") as file:
            if file.readline(20) != _VERSION:
                raise SourceError(
                    f"{self.path} is a ROS 1 bag of an old format; convert it with"
                    " `rosbag fix` or `rosbag-migrate`, or give one of format 2.0"
                )
        counts: Counter[int] = Counter()
        connections, damaged = 0, len(self._damage.lines)
        try:
            for record in self._top_records(only=(_BAG_HEADER, _INDEX, _CONNECTION)):
                if record.opcode == _BAG_HEADER:
                    if record.header.get(b"encryptor"):
                        raise SourceError(f"{self.path} is encrypted; give a bag that is not")
                    if not record.number(b"index_pos"):
                        self._report("the recording broke off: the bag has no index")
                        break
                elif record.opcode == _INDEX:
                    counts[record.number(b"conn")] += record.number(b"count")
                elif record.opcode == _CONNECTION:
                    connections += 1
                    self._learn(record)
        except MALFORMED:
            connections = 0
        if connections and len(self._damage.lines) == damaged:
            return counts
        counts.clear()
        for chunk in self._top_records(only=(_CHUNK, _MESSAGE, _CONNECTION)):
            for record in self._unpack(chunk):
                if record.opcode == _MESSAGE:
                    counts[record.number(b"conn")] += 1
        if not connections and not counts:
            self._report("it holds no messages")
        return counts

    def _top_records(self, only: Collection[int]) -> Iterator[_Record]:
        with self.path.open("rb") as file:
            file.seek(len(_VERSION))
            try:
                yield from _records(file, self.path.stat().st_size, only)
            except (DamageError, *MALFORMED) as error:
                self._report(str(error))

    def _unpack(self, chunk: _Record) -> Iterator[_Record]:
        """The records of a chunk; any other record is returned unchanged."""
        records: Iterator[_Record] = iter([chunk])
        problem = ""
        if chunk.opcode == _CHUNK:
            compression = chunk.header.get(b"compression", b"").decode(errors="replace")
            size = chunk.number(b"size") if b"size" in chunk.header else LARGEST_CHUNK
            data, problem = decompress(compression, chunk.data, min(size, LARGEST_CHUNK))
            records = _records(BytesIO(data), len(data), (_MESSAGE, _CONNECTION))
        try:
            for record in records:
                if record.opcode == _CONNECTION:
                    self._learn(record)
                elif record.opcode == _MESSAGE:
                    struct.unpack("<III", record.header[b"conn"] + record.header[b"time"])
                yield record
        except (DamageError, *MALFORMED) as error:
            problem = problem or f"{error} of its content"
        if not chunk.whole:
            self._report(f"the chunk at byte {chunk.offset} is cut off")
        elif problem:
            self._report(f"the chunk at byte {chunk.offset} is damaged: {problem}")

    def _learn(self, record: _Record) -> None:
        type_name, topic = _fields(record.data)[b"type"].decode(), record.header[b"topic"].decode()
        self._learn_channel(record.number(b"conn"), topic, type_name, "ros1")

    def _message(self, record: _Record, topics: Collection[str]) -> RawMessage | None:
        if record.opcode != _MESSAGE:
            return None
        seconds, nanoseconds = struct.unpack("<II", record.header[b"time"])
        time = seconds * 10**9 + nanoseconds
        return self._image(record.number(b"conn"), time, record.data, topics)


def _records(file: BinaryIO, end: int, only: Collection[int]) -> Iterator[_Record]:
    """The records from here to `end` with these opcodes.

    For a truncated chunk it yields the available records before it raises.

    Raises:
        DamageError: a record is truncated or invalid.
    """
    while (offset := file.tell()) < end:
        header = _fields(_sized(file, offset))
        if len(header.get(b"op", b"")) != 1:
            raise DamageError(f"there is no record at byte {offset}")
        (length,) = struct.unpack("<I", file.read(4).ljust(4, b"\0"))
        kind = header[b"op"][0]
        content = file.tell()
        whole = content + length <= end
        if kind in only and (whole or kind == _CHUNK):
            yield _Record(offset, header, file.read(length), whole)
        if not whole:
            name = "chunk" if kind == _CHUNK else "record"
            raise DamageError(f"the {name} at byte {offset} is cut off")
        file.seek(content + length)


def _sized(file: BinaryIO, offset: int) -> bytes:
    (length,) = struct.unpack("<I", file.read(4).ljust(4, b"\xff"))
    content = file.read(length)
    if len(content) < length:
        raise DamageError(f"the record at byte {offset} is cut off")
    return content


def _fields(content: bytes) -> dict[bytes, bytes]:
    """The fields of a header: length-prefixed name=value pairs."""
    fields: dict[bytes, bytes] = {}
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        name, _, value = content[at + 4 : at + 4 + length].partition(b"=")
        fields[name] = value
        at += 4 + length
    return fields
