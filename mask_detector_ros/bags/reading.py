# SPDX-License-Identifier: Apache-2.0
"""Read ROS 1 and ROS 2 bags, identified by content rather than name, intact or damaged."""

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import yaml
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from mask_detector_ros.bags import mcap_file, ros1_file, sqlite_file
from mask_detector_ros.bags.bag_file import (
    LARGEST_CHUNK,
    MALFORMED,
    ZSTD_MAGIC,
    BagFile,
    Channel,
    Damage,
    DamageError,
    RawMessage,
    decompress,
    decompressed,
    is_zstd,
)
from mask_detector_ros.bags.message_writer import message_types
from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources.images import natural_order

_FORMATS: dict[bytes, Callable[[Path, Damage], BagFile]] = {
    mcap_file.MAGIC: mcap_file.McapFile,
    sqlite_file.MAGIC: sqlite_file.SqliteFile,
    ros1_file.MAGIC: ros1_file.Ros1File,
}
_LONGEST_MAGIC = max(map(len, _FORMATS))
_SUFFIXES = (".mcap", ".db3", ".bag")
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK": "zip",
    b"7z\xbc": "7-Zip",
}

_REPRESENTATIONS = {2: "PL_CDR", 4: "XML", 8: "delimited CDR2", 10: "PL_CDR2"}
"""Data representations of DDS that are not read, by the identifier of their big-endian form."""


class Bag:
    """An open bag of any format.

    Attributes:
        channels: image channels of all its files.
        others: types of the topics without images, by topic.
        sizes: sizes of its files in bytes, by name.
    """

    def __init__(self, path: Path, files: list[BagFile], damage: Damage) -> None:
        self.path, self._files, self.damage = path, files, damage
        self.channels: list[Channel] = [c for file in files for c in file.channels()]
        self.others = {t: kind for file in files for t, kind in file.others.items()}
        self.sizes = {file.path.name: file.path.stat().st_size for file in files}
        self._ros1, self._ros2 = get_typestore(Stores.ROS1_NOETIC), message_types()

    def count(self, topics: Collection[str]) -> int:
        """Number of the bag's images on these topics, as far as the files tell."""
        return sum(channel.count for channel in self.channels if channel.topic in topics)

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """Read the bag's images on these topics, file by file. `damage` lists unreadable parts."""
        for file in self._files:
            known = len(self.damage.lines)
            missing = sum(c.count for c in file.channels() if c.topic in topics)
            try:
                for message in file.messages(topics):
                    missing -= 1
                    yield message
            except OSError as error:
                self.damage.report(f"{file.path.name} cannot be read ({error.strerror})")
            if missing > 0 and len(self.damage.lines) == known:
                self.damage.report(f"{file.path.name}: {missing} of its images are missing")

    def read(self, raw: RawMessage) -> Any:
        """Deserialise a message of the bag.

        Raises:
            DamageError: its bytes are invalid.
        """
        data = raw.data
        if raw.time < 0:
            raise DamageError("it was recorded before 1970")
        try:
            if data.startswith(ZSTD_MAGIC):
                data, problem = decompress("zstd", data, LARGEST_CHUNK)
                if problem:
                    raise DamageError(problem)
            if raw.encoding == "ros1":
                message: Any = self._ros1.deserialize_ros1(data, raw.kind)
            else:
                message = self._ros2.deserialize_cdr(_as_cdr(data), raw.kind)
        except (SerdeError, AssertionError, *MALFORMED) as error:
            raise DamageError(str(error) or type(error).__name__) from error
        # ROS 1 counts seconds without a sign, ROS 2 with one.
        if message.header.stamp.sec >= 1 << 31:
            raise DamageError("its stamp is beyond 2038")
        return message

    def first(self, topic: str) -> Any:
        """The bag's first readable message on a topic; None if there is none."""
        if self.count([topic]):
            for raw in self.messages([topic]):
                try:
                    return self.read(raw)
                except DamageError:
                    continue
        return None


def _as_cdr(data: bytes) -> bytes:
    """A message in the representation that all ROS 2 middlewares write by default.

    Plain XCDR2 aligns 8-byte numbers differently, which images do not have (DDS-XTypes 1.3, 7.4.3).

    Raises:
        DamageError: it is in another representation.
    """
    identifier = int.from_bytes(data[:2], "big")
    if identifier in (6, 7):
        return bytes([0, identifier & 1]) + data[2:]
    if name := _REPRESENTATIONS.get(identifier & ~1):
        raise DamageError(
            f"it is serialised as {name}, which no ROS 2 middleware writes for images"
        )
    return data


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a ROS 2 bag (a folder, or an .mcap or .db3 file, also with .zstd) or a ROS 1 bag (.bag).

    Raises:
        SourceError: it does not exist, or is not a bag.
    """
    damage = Damage()
    with tempfile.TemporaryDirectory(prefix="mask_detector_bag_") as folder:
        try:
            bag = Bag(path, _open_files(_list_files(path, damage), damage, Path(folder)), damage)
        except OSError as error:
            raise SourceError(
                f"cannot read {error.filename or path} ({error.strerror}); check its permissions"
            ) from error
        if damage.lines and not bag.channels:
            raise SourceError(
                f"{path} cannot be read as a bag: {'; '.join(damage.lines)}; give another"
            )
        yield bag


def _list_files(path: Path, damage: Damage) -> list[Path]:
    """The files of a bag in their order."""
    if not path.exists():
        raise SourceError(f"{path} does not exist; give a bag: a folder, or an .mcap or .bag file")
    if not path.is_dir():
        if not path.is_file():
            raise SourceError(f"{path} is not a file; give a folder, or an .mcap or .bag file")
        return [path]
    listed = _listed_files(path / "metadata.yaml", damage)
    files = [file for file in listed if file.is_file()]
    if not files or len(files) < len(listed):
        # Do not require the files named by the metadata: they may be renamed or unpacked.
        others = sorted(
            (f for f in path.iterdir() if f.is_file()), key=lambda file: natural_order(file.name)
        )
        unpacked = {f: f.with_suffix("") for f in [*others, *listed] if f.suffix == ".zstd"}
        found = [f for f in others if _magic(f) and unpacked.get(f) not in others]
        if files or not found:
            for file in listed:
                if file not in found and unpacked.get(file) not in found:
                    damage.report(f"{file.name} is missing")
        for file in others:
            if file.suffix in _SUFFIXES and not _magic(file):
                damage.report(f"{file.name}: {_why_no_bag(file)}")
        files = found
    if not files:
        raise SourceError(
            f"{path} is not a bag: it holds no .mcap, .db3 or .bag file; give the folder that"
            " `ros2 bag record` made"
        )
    return files


def _listed_files(metadata: Path, damage: Damage) -> list[Path]:
    """The files named by the metadata; the files themselves contain everything else."""
    if not metadata.is_file():
        return []
    try:
        content = yaml.safe_load(metadata.read_text(encoding="utf-8"))
        names = content["rosbag2_bagfile_information"]["relative_file_paths"]
        return list(dict.fromkeys(metadata.with_name(PurePath(name).name) for name in names))
    except (yaml.YAMLError, TypeError, *MALFORMED):
        damage.report("metadata.yaml is damaged; all files beside it were read")
        return []


def _magic(file: Path) -> bytes | None:
    """The format by the file's first bytes: one of the formats, zstd, or None."""
    with file.open("rb") as opened:
        start = opened.read(_LONGEST_MAGIC)
    if is_zstd(start):
        return ZSTD_MAGIC
    return next((magic for magic in _FORMATS if start.startswith(magic)), None)


def _open_files(files: list[Path], damage: Damage, folder: Path) -> list[BagFile]:
    """Open the files of a bag; one of several that is none is damage."""
    opened = []
    for file in files:
        try:
            opened.append(_open_file(file, damage, folder))
        except DamageError as error:
            earlier = damage.lines[:]
            damage.report(f"{file.name}: {error}")
            if file == files[-1] and not opened:
                raise SourceError(
                    f"{file} is not a bag: {'; '.join([*earlier, str(error)])}; give a rosbag2"
                    " folder, or an .mcap, .db3 or .bag file"
                ) from error
    return opened


def _open_file(file: Path, damage: Damage, folder: Path) -> BagFile:
    """Open a file by its content; compressed files are unpacked into `folder`.

    Raises:
        DamageError: it is of no known format.
    """
    opened = file
    if (magic := _magic(file)) == ZSTD_MAGIC:
        opened = _unpack(file, damage, folder)
        magic = _magic(opened)
    if magic not in _FORMATS:
        raise DamageError(_why_no_bag(opened))
    if magic == sqlite_file.MAGIC:
        opened = _lengthen(opened, damage, folder)
    return _FORMATS[magic](opened, damage)


def _why_no_bag(file: Path) -> str:
    with file.open("rb") as opened:
        start = opened.read(8)
    if not start:
        return "it is empty"
    for magic, name in _ARCHIVES.items():
        if start.startswith(magic):
            return f"it is an archive of {name}, unpack it first"
    return "its first bytes are not those of MCAP, SQLite or a ROS 1 bag"


def _lengthen(file: Path, damage: Damage, folder: Path) -> Path:
    """Pad a truncated database with empty pages."""
    if file.stat().st_size >= (size := sqlite_file.whole_size(file)):
        return file
    target = folder / file.name
    if target != file:
        damage.report(f"{file.name}: the file is cut off")
        shutil.copyfile(file, target)
    os.truncate(target, size)
    return target


def _unpack(file: Path, damage: Damage, folder: Path) -> Path:
    """Decompress a file as far as possible."""
    target = folder / file.name.removesuffix(".zstd")
    try:
        with file.open("rb") as source, target.open("wb") as unpacked:
            for piece in decompressed("zstd", source):
                unpacked.write(piece)
    except DamageError as error:
        damage.report(f"{file.name}: {error}")
    return target
