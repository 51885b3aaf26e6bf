# SPDX-License-Identifier: Apache-2.0
"""Bags of every format are recognised by their content."""

import shutil
import sqlite3
import struct

import pytest

pytest.importorskip("rosbags", reason="needs the bag extra: pip install rosbags")

import zstandard
from bag_maker import START, BagMaker, make_bag
from bag_reader import IMAGES, change_metadata, every_kind, read, storage_file
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from mask_detector_ros.bags.bag_file import DamageError
from mask_detector_ros.bags.reading import open_bag


@every_kind
def test_every_image_is_read_once_and_in_order(tmp_path, kind, compression):
    bag = make_bag(tmp_path / "in", kind, IMAGES, compression=compression)
    assert read(bag) == (list(range(20)), 0, [])
    with open_bag(bag) as opened:
        assert opened.count(["/front/image_raw"]) == 20


def other_channels(writer, encoding, schema_encoding, definition):
    schema = writer.register_schema("foxglove.Thing", schema_encoding, definition)
    writer.register_channel("/other", encoding, schema)
    return writer.register_channel("/other2", encoding, schema)


@pytest.mark.parametrize(
    ("encoding", "schema_encoding", "definition"),
    [
        ("json", "jsonschema", b"{}"),
        ("protobuf", "protobuf", b"\xff\xfe\0"),
        ("cdr", "ros2idl", b"module { this parses as nothing"),
        ("cdr", "ros2msg", b"int32[<=x] ???"),
        ("cdr", "", b""),
        ("flatbuffer", "flatbuffer", b"\0"),
    ],
)
@pytest.mark.parametrize("profile", ["ros2", "", "x-own"])
def test_other_channels_and_profiles_do_not_matter(
    tmp_path, encoding, schema_encoding, definition, profile
):
    maker = BagMaker(tmp_path / "unused", "mcap")
    image = maker.store.types["sensor_msgs/msg/Image"](
        header=maker.header(START),
        height=40,
        width=40,
        encoding="bgr8",
        is_bigendian=0,
        step=120,
        data=IMAGES[7].reshape(-1),
    )
    data = bytes(maker.store.serialize_cdr(image, "sensor_msgs/msg/Image"))
    path = tmp_path / "x.bin"
    with path.open("wb") as file:
        writer = McapWriter(file)
        writer.start(profile)
        other = other_channels(writer, encoding, schema_encoding, definition)
        schema = writer.register_schema("sensor_msgs/msg/Image", "ros2msg", b"")
        images = writer.register_channel("/image_raw", "cdr", schema)
        writer.add_message(other, START, b"?", START)
        writer.add_message(images, START + 1, data, START + 1)
        writer.finish()
    assert read(path) == ([7], 0, [])


def test_an_mcap_of_ros_1_and_one_without_index_are_read(tmp_path):
    maker = BagMaker(tmp_path / "unused", "ros1")
    with maker.writer:
        pass
    image = maker.store.types["sensor_msgs/msg/Image"](
        header=maker.header(START),
        height=40,
        width=40,
        encoding="bgr8",
        is_bigendian=0,
        step=120,
        data=IMAGES[5].reshape(-1),
    )
    data = bytes(maker.store.serialize_ros1(image, "sensor_msgs/msg/Image"))
    for name, options in {"indexed": {}, "plain": {"use_chunking": False}}.items():
        with (tmp_path / name).open("wb") as file:
            writer = McapWriter(file, **options)
            writer.start("ros1")
            schema = writer.register_schema("sensor_msgs/Image", "ros1msg", b"")
            channel = writer.register_channel("image_raw", "ros1", schema)
            writer.add_message(channel, START, data, START)
            writer.finish()
        assert read(tmp_path / name) == ([5], 0, [])


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize(
    "options", [{}, {"use_statistics": False}, {"repeat_channels": False, "repeat_schemas": False}]
)
def test_chunks_of_other_writers_are_read_in_the_order_of_time(tmp_path, compression, options):
    maker = BagMaker(tmp_path / "unused", "mcap")
    with (tmp_path / "x").open("wb") as file:
        writer = McapWriter(file, compression=compression, chunk_size=9000, **options)
        writer.start("ros2")
        schema = writer.register_schema("sensor_msgs/msg/Image", "ros2msg", b"")
        images = writer.register_channel("/image_raw", "cdr", schema)
        for i in (1, 0, 3, 2, 5, 4):
            message = maker.store.types["sensor_msgs/msg/Image"](
                header=maker.header(START + i),
                height=40,
                width=40,
                encoding="bgr8",
                is_bigendian=0,
                step=120,
                data=IMAGES[i].reshape(-1),
            )
            data = bytes(maker.store.serialize_cdr(message, "sensor_msgs/msg/Image"))
            writer.add_message(images, START + i, data, START + i)
        writer.finish()
    assert read(tmp_path / "x") == (list(range(6)), 0, [])


@pytest.mark.parametrize("kind", ["mcap", "sqlite3"])
def test_a_folder_is_a_rosbag2_whatever_its_name_and_its_metadata(tmp_path, kind):
    bag = make_bag(tmp_path / "x.bag", kind, IMAGES)
    expected = (list(range(20)), 0, [])
    assert read(bag) == expected
    change_metadata(bag, version=99)
    assert read(bag) == expected
    change_metadata(bag, storage_identifier="")
    assert read(bag) == expected
    (bag / "metadata.yaml").unlink()
    assert read(bag) == expected
    file = storage_file(bag)
    file.rename(bag / "no_suffix")
    assert read(bag) == expected
    assert read(bag / "no_suffix") == expected


@pytest.mark.parametrize("kind", ["mcap", "sqlite3"])
def test_a_file_compressed_by_itself_is_read(tmp_path, kind):
    file = storage_file(make_bag(tmp_path / "in", kind, IMAGES))
    packed = tmp_path / f"{file.name}.zstd"
    packed.write_bytes(zstandard.compress(file.read_bytes()))
    assert read(packed) == (list(range(20)), 0, [])


def test_a_file_compressed_in_several_frames_is_read(tmp_path):
    """`pzstd` writes such files: a frame with only the size precedes each data frame."""
    content = storage_file(make_bag(tmp_path / "in", "mcap", IMAGES)).read_bytes()
    packed = tmp_path / "x.mcap.zstd"
    with packed.open("wb") as file:
        for start in range(0, len(content), 30_000):
            frame = zstandard.compress(content[start : start + 30_000])
            file.write(b"\x50\x2a\x4d\x18" + struct.pack("<II", 4, len(frame)) + frame)
    assert read(packed) == (list(range(20)), 0, [])


def test_a_message_beside_the_chunks_is_read(tmp_path):
    content = storage_file(make_bag(tmp_path / "in", "mcap", IMAGES[:2], compression="storage"))
    plain = storage_file(make_bag(tmp_path / "plain", "mcap", IMAGES[:3]))
    chunked, message = bytearray(content.read_bytes()), _last_message(plain.read_bytes())
    places = dict(_top_records(chunked))
    end, footer, statistics = (places[opcode] for opcode in (0x0F, 0x02, 0x0B))
    for place, value in ((statistics + 9, 3), (statistics + 9 + 48, 3)):
        chunked[place : place + 8] = struct.pack("<Q", value)
    start, offsets = struct.unpack_from("<QQ", chunked, footer + 9)
    moved = [start + len(message), offsets and offsets + len(message)]
    chunked[footer + 9 : footer + 29] = struct.pack("<QQI", *moved, 0)
    (tmp_path / "x.mcap").write_bytes(chunked[:end] + message + chunked[end:])
    assert read(tmp_path / "x.mcap") == ([0, 1, 2], 0, [])


def _top_records(content):
    place = 8
    while place < len(content) - 8:
        opcode, length = struct.unpack_from("<BQ", content, place)
        yield opcode, place
        place += 9 + length


def _last_message(content):
    """Find the last message of a file, with its record's header."""
    for opcode, place in _top_records(content):
        if opcode == 0x06:
            start, (size,) = place + 49, struct.unpack_from("<Q", content, place + 41)
            inner = bytes(8) + content[start : start + size] + bytes(8)
            content, place = inner, max(p for o, p in _top_records(inner) if o == 0x05)
            opcode = 0x05
        if opcode == 0x05:
            (length,) = struct.unpack_from("<Q", content, place + 1)
            found = content[place : place + 9 + length]
    return found


def test_a_file_named_twice_is_read_once(tmp_path):
    bag = make_bag(tmp_path / "in", "mcap", IMAGES)
    change_metadata(bag, relative_file_paths=["in.mcap", "in/in.mcap"])
    assert read(bag) == (list(range(20)), 0, [])


def test_messages_still_in_the_write_ahead_log_are_read(tmp_path):
    file = storage_file(make_bag(tmp_path / "in", "sqlite3", IMAGES))
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("UPDATE messages SET timestamp = timestamp + 1")
    database.execute(
        "INSERT INTO messages SELECT 99, topic_id, timestamp + 9, data FROM messages LIMIT 1"
    )
    database.commit()
    copy = tmp_path / "copy"
    shutil.copytree(file.parent, copy)
    database.close()
    pixels, _, damage = read(copy)
    assert (len(pixels), damage) == (21, [])


@pytest.mark.parametrize(
    ("identifier", "reason"),
    [
        (7, None),
        (3, "it is serialised as PL_CDR"),
        (9, "it is serialised as delimited CDR2"),
        (11, "it is serialised as PL_CDR2"),
        (99, "unsupported CDR encapsulation"),
    ],
)
def test_plain_cdr2_is_read_and_other_representations_are_named(tmp_path, identifier, reason):
    maker = BagMaker(tmp_path / "in", "mcap")
    kind = "sensor_msgs/msg/CompressedImage"
    image = maker.store.types[kind](header=maker.header(START), format="png", data=IMAGES[7][0, 0])
    data = bytes(maker.store.serialize_cdr(image, kind))
    with maker.writer:
        maker.write_bytes("/image", kind, START, bytes([0, identifier]) + data[2:])
    with open_bag(maker.path) as bag:
        (message,) = bag.messages(["/image"])
        if reason is None:
            assert bag.read(message).format == "png"
        else:
            with pytest.raises(DamageError, match=reason):
                bag.read(message)
