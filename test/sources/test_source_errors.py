# SPDX-License-Identifier: Apache-2.0
"""Sources that cannot be opened: the error says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest
from image_files import picture, save, write_text

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources import open_source


def assert_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """OpenCV and FFmpeg add no lines of their own; before 4.5.5, FFmpeg cannot be silenced."""
    if cv2.__version__ >= "4.5.5":
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["talk.mp4", "talk.avi", "talk.txt", "talk"])
def test_a_text_file_is_no_video(tmp_path, name):
    with pytest.raises(SourceError, match="is a text file, not a video"):
        open_source(write_text(tmp_path / name))


def test_a_damaged_video_says_so(tmp_path, capfd):
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(SourceError, match="is not a video that OpenCV can read"):
        open_source(path)
    assert_quiet(capfd)


def test_an_empty_video_file_says_so(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(SourceError, match="is not a video"):
        open_source(tmp_path / "empty.mp4")


@pytest.mark.parametrize("name", ["none.mp4", "none.png", "none"])
def test_a_missing_file_says_so(tmp_path, name):
    with pytest.raises(SourceError, match="does not exist"):
        open_source(tmp_path / name)


def test_a_directory_without_images_says_what_would_be_one(tmp_path):
    write_text(tmp_path / "notes.txt")
    with pytest.raises(SourceError, match=r"there is no image in .*\.jpg"):
        open_source(tmp_path)


def test_a_file_that_may_not_be_read_says_so(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    path = save(tmp_path / "x.png", picture())
    path.chmod(0)
    with pytest.raises(SourceError, match="permissions"):
        open_source(path)


@pytest.mark.parametrize("name", ["/dev/video4242", "4242"])
def test_a_missing_camera_lists_the_ones_there_are(name):
    with pytest.raises(SourceError, match=r"no camera /dev/video4242; cameras of this machine: "):
        open_source(name)


def test_a_device_that_is_no_camera_cannot_be_opened(capfd):
    device = Path("/dev/v4l")
    if device.exists():
        pytest.skip("this machine has real devices there")
    with pytest.raises(SourceError, match="no camera /dev/v4l/by-id/none"):
        open_source("/dev/v4l/by-id/none")
    assert_quiet(capfd)


def test_a_stream_nobody_sends_says_so_without_the_password(capfd):
    with pytest.raises(
        SourceError, match=r"cannot open the stream http://\*\*\*@127.0.0.1:9/cam: nothing listens"
    ) as caught:
        open_source("http://anna:secret@127.0.0.1:9/cam")
    assert "secret" not in str(caught.value)
    assert_quiet(capfd)


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_an_error_and_not_the_current_folder(name, tmp_path, monkeypatch):
    save(tmp_path / "a.png", picture())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="empty name"):
        open_source(name)


def test_a_file_url_of_another_machine_is_an_error():
    with pytest.raises(SourceError, match="machine 'nas'"):
        open_source("file://nas/walk.avi")
