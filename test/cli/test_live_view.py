# SPDX-License-Identifier: Apache-2.0
"""`mask-detector video --view`, in a real browser."""

import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import Page, find_browser
from command_line import limit_files, run

from mask_detector_ros.cli import main
from mask_detector_ros.imaging.annotate import LABEL_COLORS

TIMEOUT = 150
"""Seconds for a browser without a GPU on a busy machine."""


def listening_addresses(port):
    """The local addresses on which a port is open, in the kernel's hexadecimal."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    places = [row[1].split(":") for row in rows if row[3] == "0A"]
    return {address for address, number in places if int(number, 16) == port}


def count_pixels(png, color):
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return int((np.abs(image.astype(int) - color).max(axis=2) < 12).sum())


@pytest.fixture
def viewed_scene():
    """Run the sample scene with its live view; return the process and the page's address."""
    pytest.importorskip("rerun", reason="needs the viewer: pip install rerun-sdk")
    command = [sys.executable, "-m", "mask_detector_ros", "video", "sample", "--view"]
    process = subprocess.Popen(
        [*command, "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    line = process.stderr.readline()
    assert line.startswith("live view: http://127.0.0.1:"), line
    yield process, line.split()[-1]
    if process.poll() is None:
        process.terminate()
    process.wait()


def test_the_page_shows_boxes_while_it_runs(viewed_scene, tmp_path):
    if find_browser() is None:
        pytest.skip("needs a browser: apt install chromium")
    process, url = viewed_scene
    page = Page(url, tmp_path)
    try:
        end = time.monotonic() + TIMEOUT
        seen = 0
        while seen < len(LABEL_COLORS) and process.poll() is None:
            assert time.monotonic() < end, f"{seen} kinds of boxes"
            png = page.screenshot()
            if png:
                seen = sum(count_pixels(png, color) > 50 for color in LABEL_COLORS.values())
    finally:
        page.close()
    assert process.poll() is None


def test_the_page_is_for_this_machine_alone_and_ends_with_the_run(viewed_scene):
    process, url = viewed_scene
    port = int(url.split(":")[2].split("/")[0])
    assert urllib.request.urlopen(url, timeout=30).status == 200
    assert listening_addresses(port) == {"0100007F"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert listening_addresses(port) == set()


def test_a_file_for_later_replaces_nothing_and_holds_the_run(tmp_path, capsys):
    pytest.importorskip("rerun", reason="needs the viewer: pip install rerun-sdk")
    path = tmp_path / "x.rrd"
    command = ["video", "sample", "--frames", "5", "--rrd", str(path), "--threads", "1"]
    assert main(command) == 0
    assert path.read_bytes()[:3] == b"RRF"
    assert [p.name for p in tmp_path.iterdir()] == ["x.rrd"]
    assert main(command) == 2
    assert "give another name with --rrd" in capsys.readouterr().err


def test_a_file_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    pytest.importorskip("rerun", reason="needs the viewer: pip install rerun-sdk")
    command = ("video", "sample", "--frames", "20", "--rrd", tmp_path / "x.rrd")
    done = run(*command, preexec_fn=limit_files(50_000))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot write {tmp_path / 'x.rrd'} (")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_the_viewer_the_command_names_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert main(["video", "sample", "--frames", "1", "--view"]) == 1
    assert "pip install rerun-sdk" in capsys.readouterr().err
