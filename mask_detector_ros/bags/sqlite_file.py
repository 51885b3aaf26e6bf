# SPDX-License-Identifier: Apache-2.0
"""Read images from a .db3 file, rosbag2's SQLite storage, intact or damaged."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from mask_detector_ros.bags.bag_file import MALFORMED, BagFile, Damage, RawMessage

MAGIC = b"SQLite format 3\0"
_BROKEN = (sqlite3.Error, *MALFORMED)


def whole_size(path: Path) -> int:
    """Size of a SQLite database in bytes by its header. SQLite does not open a shorter file."""
    with path.open("rb") as file:
        header = file.read(100)
    page = int.from_bytes(header[16:18], "big")
    return (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")


class SqliteFile(BagFile):
    """A .db3 file."""

    def __init__(self, path: Path, damage: Damage) -> None:
        super().__init__(path, damage)
        self._places: list[tuple[int, int, int]] = []
        """(time, row, topic) of each image, sorted by time."""
        try:
            with closing(self._connect()) as database:
                self._read_places(database, set(self._read_topics(database)))
        except _BROKEN as error:
            self._report(f"the database is damaged ({error})")
        self._places.sort()

    def _counts(self) -> Counter[int]:
        return Counter(topic for _, _, topic in self._places)

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        query = "SELECT data FROM messages WHERE id = ?"
        lost: list[str] = []
        with closing(self._connect()) as database:
            for time, row, number in self._places:
                if (topic := self._known[number].topic) not in topics:
                    continue
                try:
                    (data,) = database.execute(query, (row,)).fetchone() or (None,)
                except _BROKEN as error:
                    lost.append(f"row {row} of {topic} ({error})")
                    continue
                if not isinstance(data, bytes):
                    lost.append(f"row {row} of {topic} (it holds no bytes)")
                elif message := self._image(number, time, data, topics):
                    yield message
        if lost:
            self._report(f"{len(lost)} messages cannot be read, the first is {lost[0]}")

    def _connect(self) -> sqlite3.Connection:
        # Data still in the write-ahead log belongs to the bag too.
        log = self.path.with_name(f"{self.path.name}-wal")
        mode = "mode=ro" if log.is_file() and log.stat().st_size else "immutable=1"
        database = sqlite3.connect(f"{self.path.absolute().as_uri()}?{mode}", uri=True)
        database.text_factory = lambda text: text.decode(errors="replace")
        return database

    def _read_topics(self, database: sqlite3.Connection) -> Iterator[int]:
        """Register the topics; returns the ids of all."""
        query = "SELECT id, name, type, serialization_format FROM topics"
        for number, topic, type_name, encoding in database.execute(query):
            self._learn_channel(number, str(topic), str(type_name), encoding)
            yield number

    def _read_places(self, database: sqlite3.Connection, topics: set[int]) -> None:
        # In table order, not by an index, to find everything before the damage.
        query = "SELECT timestamp, id, topic_id FROM messages NOT INDEXED"
        for time, row, topic in database.execute(query):
            if topic not in topics:
                self._report("some messages belong to no topic")
            elif not isinstance(time, int):
                self._report("some messages have no time")
            elif topic in self._known:
                self._places.append((time, row, topic))
