# SPDX-License-Identifier: Apache-2.0
"""Read images from a .db3 file, rosbag2's SQLite storage, intact or damaged."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from mask_detector_ros.bags.bag_file import MALFORMED, Channel, Damage, RawMessage, image_kind

MAGIC = b"SQLite format 3\0"
_BROKEN = (sqlite3.Error, *MALFORMED)


def whole_size(path: Path) -> int:
    """Size of a database in bytes by its header. SQLite does not open a shorter file."""
    with path.open("rb") as file:
        header = file.read(100)
    page = int.from_bytes(header[16:18], "big")
    return (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")


class SqliteFile:
    """A .db3 file.

    Args:
        path: path of the file.
        damage: collects damage.
    """

    def __init__(self, path: Path, damage: Damage) -> None:
        self.path, self._damage = path, damage
        self.others: dict[str, str] = {}
        self._topics: dict[int, Channel | None] = {}
        """Channels by id; None for channels without images."""
        self._places: list[tuple[int, int, int]] = []
        """(time, row, topic) of each image, sorted by time."""
        try:
            with closing(self._connect()) as database:
                self._read_topics(database)
                self._read_places(database)
        except _BROKEN as error:
            self._report(f"the database is damaged ({error})")
        self._places.sort()

    def channels(self) -> list[Channel]:
        counts = Counter(topic for _, _, topic in self._places)
        return [
            Channel(c.topic, c.kind, c.encoding, counts[number])
            for number, c in self._topics.items()
            if c
        ]

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        query = "SELECT data FROM messages WHERE id = ?"
        lost: list[str] = []
        with closing(self._connect()) as database:
            for time, row, number in self._places:
                channel = self._topics[number]
                if channel is None or channel.topic not in topics:
                    continue
                try:
                    (data,) = database.execute(query, (row,)).fetchone() or (None,)
                except _BROKEN as error:
                    lost.append(f"row {row} of {channel.topic} ({error})")
                    continue
                if isinstance(data, bytes):
                    yield RawMessage(channel.topic, channel.kind, channel.encoding, time, data)
                else:
                    lost.append(f"row {row} of {channel.topic} (it holds no bytes)")
        if lost:
            self._report(f"{len(lost)} messages cannot be read, the first is {lost[0]}")

    def _connect(self) -> sqlite3.Connection:
        # Data still in the write-ahead log belongs to the bag too.
        log = self.path.with_name(f"{self.path.name}-wal")
        mode = "mode=ro" if log.is_file() and log.stat().st_size else "immutable=1"
        database = sqlite3.connect(f"{self.path.absolute().as_uri()}?{mode}", uri=True)
        database.text_factory = lambda text: text.decode(errors="replace")
        return database

    def _read_topics(self, database: sqlite3.Connection) -> None:
        query = "SELECT id, name, type, serialization_format FROM topics"
        for number, topic, type_name, encoding in database.execute(query):
            topic, type_name = str(topic), str(type_name)
            kind = image_kind(type_name)
            self._topics[number] = None
            if kind and encoding == "cdr":
                self._topics[number] = Channel(topic, kind, encoding, 0)
            else:
                self.others[topic] = type_name

    def _read_places(self, database: sqlite3.Connection) -> None:
        # In table order, not by an index, to find everything before the damage.
        query = "SELECT timestamp, id, topic_id FROM messages NOT INDEXED"
        for time, row, topic in database.execute(query):
            if topic not in self._topics:
                self._report("some messages belong to no topic")
            elif not isinstance(time, int):
                self._report("some messages have no time")
            elif self._topics[topic]:
                self._places.append((time, row, topic))

    def _report(self, problem: str) -> None:
        self._damage.report(f"{self.path.name}: {problem}")
