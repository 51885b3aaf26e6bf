# SPDX-License-Identifier: Apache-2.0
"""Two workers label the parts of a list, are interrupted, and resume."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from waiting import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "bulk" / "label_part.sh"
PARTS = 2
OPTIONS = ("--threads", "1", "--min-face-size", "60")


@pytest.fixture
def recordings(tmp_path, walk):
    """A list of four short videos, one in a subfolder and one with a space in its name."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    names = ("a.mp4", "b.mp4", "hall/c.mp4", "d 2.mp4")
    for name in names:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = walk[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (width, height))
        for image in walk:
            writer.write(image)
        writer.release()
    # The last line of a list need not end.
    (tmp_path / "list").write_text("\n".join(f"in/{name}" for name in names))
    return tmp_path


def start(folder, part, *options):
    environment = {**os.environ, "MASK_DETECTOR": f"{sys.executable} -m mask_detector_ros"}
    arguments = [str(part), str(PARTS), "list", "out", *OPTIONS, *options]
    return subprocess.Popen(
        [str(SCRIPT), *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL
    )


def results(folder):
    return {
        str(path.relative_to(folder / "out")): path.stat().st_mtime_ns
        for path in (folder / "out").rglob("*")
        if path.is_file()
    }


def test_two_workers_label_everything_once(recordings):
    workers = [start(recordings, part) for part in range(PARTS)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    finished = results(recordings)
    names = ("in/a", "in/b", "in/hall/c", "in/d 2")
    expected = {f"{name}{end}" for name in names for end in (".mp4", ".csv", ".mp4.done")}
    assert set(finished) == expected
    # A second run finds nothing left to do.
    workers = [start(recordings, part) for part in range(PARTS)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    assert results(recordings) == finished


def test_an_interrupted_worker_goes_on(recordings):
    worker = start(recordings, 0)
    wait_until(lambda: "in/a.mp4.done" in results(recordings) or worker.poll() is not None)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) in (0, 130)
    first = results(recordings)["in/a.mp4"]
    assert start(recordings, 0).wait(120) == 0
    finished = results(recordings)
    assert {"in/a.mp4.done", "in/hall/c.mp4.done"} <= set(finished)
    assert finished["in/a.mp4"] == first
    assert "in/b.mp4" not in finished


def test_a_file_that_fails_does_not_stop_the_others(recordings):
    (recordings / "in" / "a.mp4").write_bytes(b"no video")
    assert start(recordings, 0).wait(120) == 1
    finished = results(recordings)
    assert "in/a.mp4.done" not in finished
    assert "in/hall/c.mp4.done" in finished


def test_too_few_arguments_are_wrong_use(tmp_path):
    done = subprocess.run([str(SCRIPT), "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage" in done.stderr


def test_a_missing_command_is_one_line_and_marks_nothing(recordings):
    done = subprocess.run(
        [str(SCRIPT), "0", "1", "list", "out"],
        cwd=recordings,
        env={**os.environ, "MASK_DETECTOR": "no-such-command"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("there is no command no-such-command; set MASK_DETECTOR")
    assert not (recordings / "out").exists()
