# SPDX-License-Identifier: Apache-2.0
"""Read images from an MCAP file, intact or damaged (format: https://mcap.dev/spec).

It ignores records without images and message definitions: an image message is the same everywhere,
and other recorded data must not cause errors.
"""

import heapq
import struct
import zlib
from collections.abc import Collection, Iterator
from io import BytesIO
from itertools import count
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

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
_CHUNK_INDEX, _STATISTICS, _DATA_END = 0x08, 0x0B, 0x0F
_FOOTER_BYTES = 9 + 20 + len(MAGIC)


class _Record(NamedTuple):
    opcode: int
    offset: int
    content: bytes


class _Index(NamedTuple):
    """The summary at the end of a file."""

    counts: dict[int, int]
    chunks: list[tuple[int, int]]
    """(time of the first message, offset), sorted."""


class McapFile(BagFile):
    """An MCAP file."""

    def __init__(self, path: Path, damage: Damage) -> None:
        super().__init__(path, damage)
        self._schemas: dict[int, str] = {}
        self._cut = False
        self._index = self._read_index()
        self._scanned: dict[int, int] = {}
        if self._index is None:
            for record in self._scan():
                if record.opcode == _MESSAGE:
                    (number,) = struct.unpack_from("<H", record.content)
                    self._scanned[number] = self._scanned.get(number, 0) + 1

    def _counts(self) -> dict[int, int]:
        return self._scanned if self._index is None else self._index.counts

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        # Chunks may overlap in time: a message waits until no later chunk can precede it.
        waiting: list[tuple[int, int, RawMessage]] = []
        order = count()
        for limit, records in self._groups():
            for record in records:
                if message := self._message(record, topics):
                    heapq.heappush(waiting, (message.time, next(order), message))
            while waiting and (limit is None or waiting[0][0] < limit):
                yield heapq.heappop(waiting)[2]

    def _groups(self) -> Iterator[tuple[int | None, Iterator[_Record]]]:
        """Records chunk by chunk, with the start time of the next chunk, if known."""
        if self._index is None:
            for record in self._top_records():
                group = self._unpack(record) if record.opcode == _CHUNK else iter([record])
                yield None, group
            return
        with self.path.open("rb") as file:
            starts = [start for start, _ in self._index.chunks]
            for (_, offset), limit in zip(self._index.chunks, [*starts[1:], None], strict=True):
                yield limit, self._chunk_at(file, offset)

    def _chunk_at(self, file: BinaryIO, offset: int) -> Iterator[_Record]:
        file.seek(offset)
        try:
            record = next(_records(file, self.path.stat().st_size), None)
        except DamageError:
            record = None
        if record is None or record.opcode != _CHUNK:
            self._report(f"the chunk at byte {offset} is damaged: it does not begin as one")
            return
        yield from self._unpack(record)

    def _scan(self) -> Iterator[_Record]:
        """All records of the data section, including those in chunks."""
        for record in self._top_records():
            yield record
            if record.opcode == _CHUNK:
                yield from self._unpack(record)

    def _top_records(self) -> Iterator[_Record]:
        with self.path.open("rb") as file:
            file.seek(len(MAGIC))
            try:
                for record in _records(file, self.path.stat().st_size):
                    if record.opcode in (_DATA_END, _FOOTER):
                        return
                    self._learn(record)
                    yield record
                if not self._cut:
                    self._report("the recording broke off: the end of the file is missing")
            except DamageError as error:
                self._report(str(error))

    def _unpack(self, chunk: _Record) -> Iterator[_Record]:
        """The readable records of a chunk."""
        where = f"the chunk at byte {chunk.offset}"
        try:
            _, _, size, checksum, length = struct.unpack_from("<QQQII", chunk.content)
            compression = chunk.content[32 : 32 + length].decode()
            start = 40 + length
            (stored,) = struct.unpack_from("<Q", chunk.content, start - 8)
            packed = chunk.content[start : start + stored]
        except MALFORMED as error:
            self._report(f"{where} is damaged ({error})")
            return
        data, problem = decompress(compression, packed, min(size, LARGEST_CHUNK))
        if not problem and len(packed) < stored:
            problem = "it is cut off"
        if len(packed) < stored:
            self._cut = True
        if not problem and checksum and zlib.crc32(data) != checksum:
            problem = "its checksum does not match, images in it may be wrong"
        if problem:
            self._report(f"{where} is damaged: {problem}")
        try:
            for record in _records(BytesIO(data), len(data)):
                self._learn(record)
                yield record
        except DamageError as error:
            if not problem:
                self._report(f"{where} is damaged: {error.args[0]}")

    def _learn(self, record: _Record) -> None:
        """Register the schemas and channels of images."""
        try:
            if record.opcode == _SCHEMA:
                number, rest = struct.unpack_from("<H", record.content)[0], record.content[2:]
                self._schemas.setdefault(number, _text(rest)[0])
            elif record.opcode == _CHANNEL:
                number, schema = struct.unpack_from("<HH", record.content)
                topic, rest = _text(record.content[4:])
                type_name = self._schemas.get(schema, "")
                self._learn_channel(number, topic, type_name, _text(rest)[0])
        except MALFORMED:
            # Nothing is known about an unreadable channel; its messages are skipped.
            self._report(f"the definition of a channel at byte {record.offset} is damaged")

    def _message(self, record: _Record, topics: Collection[str]) -> RawMessage | None:
        if record.opcode != _MESSAGE or len(record.content) < 22:
            return None
        number, _, time = struct.unpack_from("<HIQ", record.content)
        return self._image(number, time, record.content[22:], topics)

    def _read_index(self) -> _Index | None:
        """The summary; None if it is missing or incomplete."""
        end = self.path.stat().st_size - _FOOTER_BYTES
        if end < len(MAGIC):
            return None
        counts: dict[int, int] = {}
        chunks: list[tuple[int, int]] = []
        spans = []
        seen: set[int] = set()
        messages = expected = -1
        with self.path.open("rb") as file:
            file.seek(end)
            footer = file.read()
            start = struct.unpack_from("<Q", footer, 9)[0]
            if footer[0] != _FOOTER or not footer.endswith(MAGIC) or not 0 < start <= end:
                return None
            file.seek(start)
            try:
                for record in _records(file, end):
                    self._learn(record)
                    if record.opcode == _CHANNEL:
                        seen.add(struct.unpack_from("<H", record.content)[0])
                    elif record.opcode == _CHUNK_INDEX:
                        time, _, offset, length = struct.unpack_from("<QQQQ", record.content)
                        chunks.append((time, offset))
                        spans.append((offset, offset + length))
                    elif record.opcode == _STATISTICS:
                        (messages,) = struct.unpack_from("<Q", record.content)
                        expected, _, _, size = struct.unpack_from("<IQQI", record.content, 22)
                        entries = record.content[46 : 46 + size // 10 * 10]
                        counts = dict(struct.iter_unpack("<HQ", entries))
                if _has_message_outside(file, sorted(spans), start):
                    return None
            except (DamageError, *MALFORMED):
                return None
        whole = len(chunks) == expected > 0 and sum(counts.values()) == messages
        return _Index(counts, sorted(chunks)) if whole and set(counts) <= seen else None


def _records(file: BinaryIO, end: int) -> Iterator[_Record]:
    """The records from here to `end`.

    The last record of a truncated chunk contains the available bytes.

    Raises:
        DamageError: another record is cut off.
    """
    while (offset := file.tell()) < end:
        head = file.read(9)
        if len(head) < 9:
            raise DamageError(f"the record at byte {offset} is cut off")
        opcode, length = struct.unpack("<BQ", head)
        content = file.read(min(length, end - offset - 9))
        record = _Record(opcode, offset, content)
        if len(content) < length and opcode != _CHUNK:
            raise DamageError(f"the record at byte {offset} is cut off")
        yield record


def _has_message_outside(file: BinaryIO, chunks: list[tuple[int, int]], end: int) -> bool:
    """Whether a message lies between the chunks, so that their index does not name it."""
    at = len(MAGIC)
    for chunk_start, chunk_end in [*chunks, (end, end)]:
        while at < chunk_start:
            file.seek(at)
            opcode, length = struct.unpack("<BQ", file.read(9))
            if opcode == _MESSAGE:
                return True
            at += 9 + int(length)
        at = chunk_end
    return False


def _text(content: bytes) -> tuple[str, bytes]:
    """A length-prefixed string, and the rest."""
    (length,) = struct.unpack_from("<I", content)
    if len(content) < 4 + length:
        raise ValueError("a text is cut off")
    return content[4 : 4 + length].decode(), content[4 + length :]
