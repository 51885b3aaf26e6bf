# SPDX-License-Identifier: Apache-2.0
"""`mask-detector bag`."""

import json
import re
import signal
import subprocess
import sys

import pytest

pytest.importorskip("rosbags", reason="needs the bag extra: pip install rosbags")

import numpy as np
from bag_maker import START, BagMaker, make_bag
from rosbags.highlevel import AnyReader
from waiting import wait_until

from mask_detector_ros.cli import main

FAST = ("--threads", "1", "--min-face-size", "60")


def test_a_bag_becomes_a_bag_and_a_line(tmp_path, walk, capsys):
    bag = make_bag(tmp_path / "in", "mcap", walk)
    assert main(["bag", str(bag), "-o", str(tmp_path / "out"), *FAST]) == 0
    out = capsys.readouterr().out
    assert "6 images of /front/image_raw; faces seen: 5 without mask; people: 1 without" in out
    assert (tmp_path / "out" / "metadata.yaml").is_file()


def test_json_tells_topics_and_totals(tmp_path, walk, capsys):
    bag = make_bag(tmp_path / "in", "sqlite3", walk)
    command = ["bag", str(bag), "-o", str(tmp_path / "out"), "--json", "--no-tracking"]
    assert main([*command, "--no-images", *FAST]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["topics"] == {"/front/image_raw": "/front/mask_detector"}
    assert (record["images"], record["faces"]["without_mask"]) == (6, 5)
    assert sum(record["people"].values()) == 0


def test_of_a_damaged_bag_what_was_read_is_kept_and_the_code_is_1(tmp_path, walk, capsys):
    bag = make_bag(tmp_path / "x.bag", "mcap", walk * 2)
    (file,) = bag.glob("*.mcap")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert main(["bag", str(bag), "-o", str(tmp_path / "out"), *FAST]) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("damaged: x.bag.mcap: the chunk at byte ")
    assert printed.out.splitlines()[-1] == f"written: {tmp_path / 'out'}"
    with AnyReader([tmp_path / "out"]) as reader:
        assert 0 < reader.message_count < 12 * 4


def test_depth_beside_colour_is_one_line(tmp_path, walk, capsys):
    maker = BagMaker(tmp_path / "in", "mcap")
    with maker.writer:
        for i in range(3):
            depth = np.zeros((48, 64), np.uint16)
            maker.image("/camera/depth/image_raw", START + i, depth, encoding="16UC1")
            maker.image("/camera/color/image_raw", START + i, walk[0])
    command = ["bag", str(maker.path), "-o", str(tmp_path / "out"), *FAST]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.err == "skipped /camera/depth/image_raw: it holds depth images (16UC1)\n"
    assert printed.out.startswith("3 images of /camera/color/image_raw; faces")
    assert main([*command, "--topics", "/camera/depth/image_raw"]) == 1
    assert "all image topics of the bag hold depth images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--topics", "/nowhere"], 2, "no images on /nowhere; it has /front/image_raw"),
        (["-o", "{tmp}/in"], 2, "already exists"),
        (["-o", "/proc/out"], 1, "cannot write /proc/out"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(tmp_path, walk, capsys, options, code, reason):
    bag = make_bag(tmp_path / "in", "mcap", walk[:1])
    options = [option.format(tmp=tmp_path) for option in options]
    output = [] if "-o" in options else ["-o", str(tmp_path / "out")]
    assert main(["bag", str(bag), *output, *options, *FAST]) == code
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_an_interrupted_run_goes_on_when_the_command_is_repeated(tmp_path, walk):
    bag = make_bag(tmp_path / "in", "mcap", walk * 60)
    command = [sys.executable, "-m", "mask_detector_ros.cli", "bag", str(bag)]
    command += ["-o", str(tmp_path / "out"), *FAST]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "out.partial" / "journal.jsonl"
    wait_until(
        lambda: (
            running.poll() is not None
            or (journal.is_file() and journal.read_bytes().count(b"\n") > 10)
        )
    )
    assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    known = journal.read_bytes().count(b"\n") - 1
    done = re.search(r"(\d+) of \d+ images done; give the same command again to resume", error)
    assert 0 <= known - int(done[1]) <= 1

    rejected = subprocess.run(
        [*command, "--min-face-size", "61"], capture_output=True, text=True, check=False
    )
    assert rejected.returncode == 2
    assert "its min_face_size differ" in rejected.stderr
    assert journal.read_bytes().count(b"\n") - 1 == known, "nothing is lost"

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("360 images of /front/image_raw")
