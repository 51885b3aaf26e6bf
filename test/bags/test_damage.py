# SPDX-License-Identifier: Apache-2.0
"""Damaged bags are read as far as possible, and the damage is reported."""

import os
import random
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the bag extra: pip install rosbags")

import zstandard
from bag_maker import START, BagMaker, make_bag
from bag_reader import IMAGES, KINDS, change_metadata, every_kind, read, storage_file

from mask_detector_ros.bags.reading import open_bag
from mask_detector_ros.errors import SourceError


@every_kind
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path, kind, compression, share):
    # Noise, so that compression does not put all images into the part that is left.
    noise = np.random.default_rng(0).integers(0, 256, (20, 120, 160, 3), np.uint8)
    noise[:, 0, 0, 0] = range(20)
    bag = make_bag(tmp_path / "in", kind, noise, compression=compression)
    file = storage_file(bag)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    pixels, _, damage = read(bag)
    assert pixels == list(range(len(pixels)))
    # The first half of a database may hold no whole page of messages.
    least = 0 if kind == "sqlite3" else share * 20 - 4
    assert least <= len(pixels) < 20
    assert damage
    assert all(file.name.removesuffix(".zstd") in line for line in damage), "it says where"


@every_kind
def test_flipped_bytes_never_end_in_a_traceback(tmp_path, kind, compression):
    bag = make_bag(tmp_path / "in", kind, IMAGES[:6], compression=compression)
    file = storage_file(bag)
    content = file.read_bytes()
    for seed in range(40):
        rng = random.Random(seed)
        flipped = bytearray(content)
        for _ in range(rng.choice([1, 20, 200])):
            flipped[rng.randrange(len(flipped))] = rng.randrange(256)
        file.write_bytes(flipped)
        try:
            pixels, others, damage = read(bag)
        except SourceError:
            continue
        assert len(pixels) + others == 6 or damage, f"seed {seed}"


@pytest.mark.parametrize(("kind", "compression"), [k for k in KINDS if k[1] != "file"])
def test_a_damaged_message_costs_one_message(tmp_path, kind, compression):
    maker = BagMaker(tmp_path / "in", kind, compression)
    image, topic = IMAGES[0], "/front/image_raw"
    with maker.writer:
        maker.image(topic, START, image)
        maker.write_bytes(topic, "sensor_msgs/msg/Image", START + 1, b"\0\1\0\0 cut")
        message = maker.store.types["sensor_msgs/msg/Image"](
            header=maker.header(START + 2, "camera"),
            height=40,
            width=40,
            encoding="bgr8",
            is_bigendian=0,
            step=120,
            data=image.reshape(-1),
        )
        ros1 = kind == "ros1"
        serialize = maker.store.serialize_ros1 if ros1 else maker.store.serialize_cdr
        data = bytes(serialize(message, "sensor_msgs/msg/Image"))
        maker.write_bytes(
            topic, "sensor_msgs/msg/Image", START + 2, data.replace(b"ame", b"\xff\xfe\xff")
        )
        maker.write_bytes(topic, "sensor_msgs/msg/Image", START + 3, data[:-30])
        maker.image(topic, START + 4, image)
    assert read(maker.path) == ([0, 0], 3, [])


def test_damaged_metadata_is_named_and_the_files_are_read(tmp_path):
    bag = make_bag(tmp_path / "in", "mcap", IMAGES)
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    pixels, _, damage = read(bag)
    assert pixels == list(range(20))
    assert damage == ["metadata.yaml is damaged; all files beside it were read"]


def test_a_missing_file_of_several_is_named_and_the_others_are_read(tmp_path):
    bag = make_bag(tmp_path / "in", "mcap", IMAGES[:3])
    late = storage_file(make_bag(tmp_path / "late", "mcap", IMAGES[3:6]))
    shutil.copy(late, bag / "in_10.mcap")
    change_metadata(bag, relative_file_paths=["in.mcap", "in_2.mcap", "in_10.mcap"])
    assert read(bag) == (list(range(6)), 0, ["in_2.mcap is missing"])


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "it is empty"), (bytes(5000), "its first bytes are not those of MCAP")],
)
def test_one_file_of_several_that_is_none_does_not_cost_the_others(
    tmp_path, content, problem, listed
):
    bag = make_bag(tmp_path / "in", "mcap", IMAGES[:3])
    (bag / "in_1.mcap").write_bytes(content)
    change_metadata(bag, relative_file_paths=["in.mcap", "in_1.mcap"])
    if not listed:
        (bag / "metadata.yaml").unlink()
    pixels, _, damage = read(bag)
    assert pixels == [0, 1, 2]
    assert len(damage) == 1
    assert damage[0].startswith(f"in_1.mcap: {problem}")


def test_a_row_of_a_database_with_a_value_of_another_type_costs_one_message(tmp_path):
    bag = make_bag(tmp_path / "in", "sqlite3", IMAGES[:4])
    with closing(sqlite3.connect(storage_file(bag))) as database, database:
        database.execute("UPDATE messages SET timestamp = 'noon' WHERE id = 2")
        database.execute("UPDATE topics SET name = x'2f78'")
    assert read(bag) == ([0, 2, 3], 0, ["in.db3: some messages have no time"])


def test_a_pipe_is_rejected_before_it_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.mcap")
    with pytest.raises(SourceError, match="is not a file"), open_bag(tmp_path / "x.mcap"):
        pass


def test_a_ros_1_bag_without_an_index_is_read(tmp_path):
    bag = make_bag(tmp_path / "in", "ros1", IMAGES)
    content = bag.read_bytes()
    at = content.index(b"index_pos=") + len(b"index_pos=")
    bag.write_bytes(content[:at] + bytes(8) + content[at + 8 :])
    assert read(bag) == (
        list(range(20)),
        0,
        ["in.bag: the recording broke off: the bag has no index"],
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a bag: it is empty; give"),
        (b"\x1f\x8b\x08 packed", "is not a bag: it is an archive of gzip, unpack it first; give"),
        (b"not an mcap", "is not a bag: its first bytes are not those of MCAP"),
        (b"\x89MCAP0\r\n", "cannot be read as a bag: .*broke off"),
        (b"#ROSBAG V2.0\n", "cannot be read as a bag: .*no messages"),
        (b"#ROSBAG V1.2\n", "a ROS 1 bag of an old format; convert it"),
        (b"SQLite format 3\0", "cannot be read as a bag: .*database is damaged"),
    ],
)
def test_what_is_no_bag_has_its_own_sentence(tmp_path, content, sentence):
    path = tmp_path / "x.mcap"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=sentence), open_bag(path):
        pass


def test_a_missing_path_and_an_empty_folder_have_theirs(tmp_path):
    with pytest.raises(SourceError, match="does not exist; give a bag"), open_bag(tmp_path / "x"):
        pass
    with pytest.raises(SourceError, match=r"holds no \.mcap"), open_bag(tmp_path):
        pass


def test_a_chunk_that_claims_to_be_huge_is_damage_and_takes_no_memory(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    bag = make_bag(tmp_path / "in", "mcap", noise, compression="storage")
    file = storage_file(bag)
    content = file.read_bytes()
    start = content.index(b"\x28\xb5\x2f\xfd")
    bomb = zstandard.compress(bytes(64 << 20))
    size = int.from_bytes(content[start - 8 : start], "little")
    assert len(bomb) < size
    file.write_bytes(content[:start] + bomb.ljust(size, b"\0") + content[start + size :])
    pixels, _, damage = read(bag)
    assert pixels == []
    assert "decompresses to more than" in damage[0]
