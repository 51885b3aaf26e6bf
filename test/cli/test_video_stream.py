# SPDX-License-Identifier: Apache-2.0
"""`mask-detector video` on live streams, and the passwords in their addresses."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import FAST, command, read_video, run, wait
from network_camera import NetworkCamera

from benchmark.inference_server import free_ports
from mask_detector_ros.cli import main


def numbered(number):
    """An image whose brightness encodes its frame number, out of 250."""
    return np.full((48, 64, 3), number, np.uint8)


def test_of_a_live_source_the_newest_frame_is_taken(tmp_path):
    """Frames come as fast as one process makes them, faster than another processes them."""
    large = np.zeros((1080, 1920, 3), np.uint8)
    with NetworkCamera(image=lambda number: large, rate=1000) as camera:
        begin = time.monotonic()
        done = run("video", camera.url, "--json", "--frames", "40", "-o", tmp_path / "x.mp4")
        passed = time.monotonic() - begin
    assert done.returncode == 0, done.stderr
    times = [json.loads(line)["time"] for line in done.stdout.splitlines()]
    assert len(times) == 40
    assert times == sorted(times)
    assert times[-1] <= passed
    assert "dropped for newer ones" in done.stderr


def test_every_frame_of_a_live_source_is_taken_on_request():
    with NetworkCamera(image=numbered, rate=100, frames=60) as camera:
        done = run("video", camera.url, "--json", "--every-frame")
    assert len(done.stdout.splitlines()) >= 58
    assert "dropped" not in done.stderr


def test_the_end_of_a_stream_prints_the_summary_and_keeps_the_video(tmp_path):
    with NetworkCamera(rate=30, frames=20) as camera:
        done = run("video", camera.url, "-o", tmp_path / "x.mp4")
    assert done.returncode == 1
    assert done.stderr.startswith("error: lost the stream http://127.0.0.1:")
    assert done.stderr.count("\n") == 1
    assert re.match(r"\d+ frames, .* faces seen: no face; people: nobody\n", done.stdout)
    assert len(read_video(tmp_path / "x.mp4")) >= int(done.stdout.split()[0])


def test_a_lost_stream_is_waited_for_on_request():
    # A port that stays free while the camera is away.
    camera = NetworkCamera(free_ports(1)[0], rate=30, frames=10)
    process = subprocess.Popen(
        command("video", camera.url, "--json", "--reconnect"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    process.stdout.readline()
    camera.disappear()
    assert "Waiting for it" in process.stderr.readline()
    with NetworkCamera(camera.port, rate=30):
        lines = [json.loads(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGINT)
        wait(process)
        err = process.stderr.read()
    assert process.returncode == 0, err
    assert [line["frame"] for line in lines] == list(range(1, 21))
    times = [line["time"] for line in lines]
    assert times == sorted(times)


SECRET_URLS = [
    "rtsp://admin:se#cret@127.0.0.1:9/live",
    "rtsp://admin:se/cret@127.0.0.1:9/live",
    "rtsp://admin:se?cret@127.0.0.1:9/live",
    "rtsp://admin:se cret@127.0.0.1:9/live",
    "rtsp://127.0.0.1:9/user=admin_password=secret_channel=1.sdp",
    "http://127.0.0.1:9/video.cgi?loginuse=admin&loginpas=secret",
    "http://127.0.0.1:9/live?token=secret#x",
    "rtsp://admin:secret@[::1/live",
    "foo://admin:secret@host/live",
]


@pytest.mark.parametrize(
    "arguments",
    [
        *((url,) for url in SECRET_URLS),
        (SECRET_URLS[3], "one-too-many"),
        (SECRET_URLS[4], "--unknown"),
    ],
)
def test_no_password_is_ever_printed(arguments, capfd, monkeypatch):
    """FFmpeg, which writes past Python's standard error, does not print it either."""
    monkeypatch.setattr(sys, "argv", ["mask-detector", "video", *reversed(arguments), *FAST])
    try:
        code = main()
    except SystemExit as wrong_use:
        code = wrong_use.code
    assert code in (1, 2)
    out, err = capfd.readouterr()
    assert "error: " in err
    for part in ("secret", "cret", "admin"):
        assert part not in err + out
