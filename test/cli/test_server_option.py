# SPDX-License-Identifier: Apache-2.0
"""`--server`: the commands print the same with a server as without one."""

import csv
import json
import signal
import socket
import subprocess
import sys

import cv2
import pytest

pytest.importorskip("tritonclient.grpc", reason="the triton extra is not installed")

from bag_maker import make_bag
from grpc_detector import GrpcDetector
from waiting import LIMIT, wait_until

from mask_detector_ros import MaskDetector
from mask_detector_ros.cli import main

FAST = ("--threads", "1", "--min-face-size", "60")


@pytest.fixture
def server():
    server = GrpcDetector(MaskDetector.load(threads=1))
    yield server
    server.close()


@pytest.fixture
def run(server, capsys):
    """Run a command with the server and without one; return both outputs."""

    def run(*arguments):
        printed = []
        for more in ((), ("--server", server.url)):
            assert main([*map(str, arguments), *FAST, *more]) == 0
            printed.append(capsys.readouterr().out)
        return printed

    return run


def test_images_go_to_the_server(run, server, astronaut_file):
    local, served = run("image", astronaut_file, "--json")
    assert served == local
    assert len(json.loads(served)["faces"]) == 1
    # One image to try the server out.
    assert len(server.requests) == 2


def test_frames_go_to_the_server(run, server, walk, tmp_path):
    for i, image in enumerate(walk):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    local, served = run("video", tmp_path, "--json")
    assert served == local
    assert len(server.requests) == 1 + len(walk)


def test_a_bag_that_one_server_began_is_finished_by_another(server, walk, tmp_path, capsys):
    pytest.importorskip("rosbags", reason="needs the bag extra")
    bag = make_bag(tmp_path / "in", "mcap", walk)
    command = ["bag", str(bag), "-o", str(tmp_path / "out"), *FAST]
    server.change = lambda arrays: arrays if len(server.requests) <= 4 else {}
    assert main([*command, "--server", server.url]) == 1
    assert "gives a damaged answer" in capsys.readouterr().err
    other = GrpcDetector(MaskDetector.load(threads=1))
    assert main([*command, "--server", other.url]) == 0
    assert "6 images of /front/image_raw; faces seen: 5 without mask" in capsys.readouterr().out
    # Three frames were known.
    assert len(other.requests) == 1 + 3
    other.close()


def test_a_video_that_waits_for_its_server_stops_when_it_is_told_to(server, walk, tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), walk[0])
    for i in range(1, 1000):
        (tmp_path / f"{i}.png").hardlink_to(tmp_path / "0.png")
    words = ("video", str(tmp_path), "--server", server.url, "--server-patience", "600")
    command = [sys.executable, "-m", "mask_detector_ros.cli", *words]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(server.requests) > 3)
    server.close()
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=LIMIT)
    assert running.returncode in (1, 130)
    assert "no inference server answers" in error or "interrupted after" in error


def test_a_server_is_evaluated_and_known_boxes_are_labelled_here(run, server, walk, tmp_path):
    (tmp_path / "images").mkdir()
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "xmin", "ymin", "xmax", "ymax", "label"))
        for i, image in enumerate(walk[:3]):
            cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), image)
            writer.writerow((f"{i}.png", 83 + 4 * i, 53, 174 + 4 * i, 159, "without_mask"))
    local, served = run("evaluate", tmp_path)
    assert served == local
    assert len(server.requests) == 1 + 3


@pytest.mark.parametrize("more", [("--server-sha256", "any"), ("--backend", "auto")])
def test_evaluate_needs_a_server_of_the_same_weights(server, tmp_path, capsys, walk, more):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.png"), walk[0])
    (tmp_path / "labels.csv").write_text(
        "file,xmin,ymin,xmax,ymax,label\n0.png,8,8,99,99,with_mask\n"
    )
    arguments = ["evaluate", str(tmp_path), "--server", server.url, *more]
    assert main(arguments) == 2
    assert "evaluate compares a server with its own weights" in capsys.readouterr().err


def test_with_auto_the_server_is_a_help_and_no_need(capsys, astronaut_file):
    arguments = ["image", str(astronaut_file), *FAST, "--server", "127.0.0.1:9"]
    for order in (["--backend", "auto", *arguments[1:]], [*arguments[1:], "--backend", "auto"]):
        assert main(["image", *order]) == 0
        assert "1 without mask" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("http://hub:8000", 2, "server_url must be HOST, grpc://HOST:PORT, grpcs://HOST:PORT"),
        ("nonsense nonsense", 2, "server_url must be HOST"),
        ("hub:99999", 2, "server_url must be HOST"),
        ("", 2, "backend triton needs server_url"),
    ],
)
def test_an_address_that_is_none_is_one_line(capsys, astronaut_file, url, code, message):
    assert main(["image", str(astronaut_file), "--server", url]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")


def test_where_nobody_listens_the_command_ends_at_once_with_one_line(capsys, astronaut_file):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    assert main(["image", str(astronaut_file), "--server", address]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: no inference server answers at {address} (")
