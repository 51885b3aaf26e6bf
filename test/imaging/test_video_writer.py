# SPDX-License-Identifier: Apache-2.0
"""Video files are written with each of the encoders."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from command_line import limit_files, read_video

from mask_detector_ros.errors import SourceError
from mask_detector_ros.imaging.video_writer import VideoWriter


def frame(value, height=48, width=64):
    return np.full((height, width, 3), value, np.uint8)


def rate_of(path):
    capture = cv2.VideoCapture(str(path))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate


def codec_of(path):
    capture = cv2.VideoCapture(str(path))
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    capture.release()
    return code.lower()


def test_what_was_written_is_read_back(encoder, tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 12.5) as writer:
        for value in (0, 100, 200):
            writer.write(frame(value))
    frames = read_video(tmp_path / "a.mp4")
    assert [image.shape for image in frames] == [(48, 64, 3)] * 3
    np.testing.assert_allclose([image.mean() for image in frames], [0, 100, 200], atol=8)
    assert rate_of(tmp_path / "a.mp4") == pytest.approx(12.5)
    assert writer.frame_count == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("suffix", [".mp4", ".MP4", ".mov", ".mkv", ".webm"])
def test_the_codec_is_one_that_browsers_play(encoder, suffix, tmp_path, capfd):
    writer = VideoWriter(tmp_path / f"a{suffix}", 10)
    if (encoder, suffix) == ("opencv", ".mov"):  # VP9 cannot be in .mov
        with pytest.raises(SourceError, match="run: pip install av"):
            writer.write(frame(0))
        return
    with writer:
        for value in range(0, 200, 20):
            writer.write(frame(value))
    vp9 = encoder == "opencv" or suffix == ".webm"
    assert codec_of(tmp_path / f"a{suffix}") in ({"vp09", "vp90"} if vp9 else {"avc1", "h264"})
    assert len(read_video(tmp_path / f"a{suffix}")) == 10
    assert capfd.readouterr().err == ""


def test_frames_are_shown_at_their_times(encoder, tmp_path):
    """Given frames at 0, 0.1, 0.2, then nothing for a second, whatever the rate."""
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        for value, time in ((0, 7.0), (60, 7.1), (120, 7.2), (240, 8.2)):
            writer.write(frame(value), time)
    assert writer.duration == pytest.approx(1.3)
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    shown = {}
    while True:
        good, image = capture.read()
        if not good:
            break
        shown.setdefault(round(image.mean() / 60) * 60, capture.get(cv2.CAP_PROP_POS_MSEC))
    assert list(shown) == [0, 60, 120, 240]
    np.testing.assert_allclose(list(shown.values()), [0, 100, 200, 1200], atol=60)


def test_a_long_pause_can_be_cut_short(encoder, tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10, longest_still=2.0) as writer:
        for time in (0.0, 3600.0, 3600.1):
            writer.write(frame(50), time)
    assert writer.duration == pytest.approx(2.2)


@pytest.mark.parametrize(("height", "width"), [(47, 63), (1, 1), (48, 1)])
def test_odd_sizes_become_even(encoder, tmp_path, height, width):
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        writer.write(frame(50, height, width))
    frames = read_video(tmp_path / "a.mp4")
    assert frames[0].shape == (max(height // 2 * 2, 2), max(width // 2 * 2, 2), 3)


def test_a_frame_of_another_size_keeps_its_shape_between_black_borders(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        writer.write(frame(200, 96, 128))
        writer.write(frame(200, 96, 32))
    frames = read_video(tmp_path / "a.mp4")
    assert [image.shape for image in frames] == [(96, 128, 3)] * 2
    columns = frames[1].mean(axis=(0, 2))
    assert columns[:40].max() < 30
    assert columns[52:76].min() > 170
    assert columns[88:].max() < 30


def test_the_size_can_be_given(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10, size=(160, 120)) as writer:
        writer.write(frame(200, 30, 80))
    frames = read_video(tmp_path / "a.mp4")
    assert frames[0].shape == (120, 160, 3)
    assert frames[0][60].mean() > 170
    assert frames[0][10].mean() < 30


@pytest.mark.parametrize(
    "name", ["größe 1.mp4", "a:b.mp4", "50%d.mp4", "-x.mp4", "x" * 251 + ".mp4"]
)
def test_the_folder_is_made_and_any_name_will_do(encoder, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with VideoWriter(tmp_path.__class__("new") / name, 10) as writer:
        writer.write(frame(50))
    assert os.listdir("new") == [name]
    assert len(read_video(tmp_path / "new" / name)) == 1


def test_without_a_frame_there_is_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_a_frame_an_older_file_stays(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"an older video")
    with VideoWriter(path, 10):
        pass
    assert path.read_bytes() == b"an older video"


def test_an_older_file_stays_until_the_new_one_is_whole(encoder, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"an older video" * 10000)
    with VideoWriter(path, 10) as writer:
        writer.write(frame(50))
        assert path.read_bytes().startswith(b"an older video")
    assert len(read_video(path)) == 1


def test_a_symbolic_link_is_replaced_and_what_it_names_stays(tmp_path):
    (tmp_path / "kept.mp4").write_bytes(b"an older video")
    (tmp_path / "a.mp4").symlink_to(tmp_path / "kept.mp4")
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        writer.write(frame(50))
    assert (tmp_path / "kept.mp4").read_bytes() == b"an older video"
    assert len(read_video(tmp_path / "a.mp4")) == 1


def test_a_place_that_cannot_be_written_is_an_error_at_once(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "a.mp4"):
        with pytest.raises(SourceError, match="cannot write"):
            VideoWriter(path, 10)


def test_a_name_that_is_no_video_is_an_error_with_the_name_to_give(tmp_path):
    with (
        VideoWriter(tmp_path / "a.xyz", 10) as writer,
        pytest.raises(SourceError, match=r"a\.xyz: give a file name that ends in \.mp4"),
    ):
        writer.write(frame(50))
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import sys
import numpy as np
from mask_detector_ros.errors import SourceError
from mask_detector_ros.imaging.video_writer import VideoWriter
frames = np.random.default_rng(0).integers(0, 256, (5, 240, 320, 3), np.uint8)
try:
    with VideoWriter(__import__("pathlib").Path(sys.argv[1]), 10) as writer:
        for frame in frames:
            writer.write(frame)
except SourceError as error:
    sys.exit(str(error))
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_full_disk_is_an_error_and_the_older_file_stays(encoder, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"an older video")
    program = FULL_DISK
    if encoder != "pyav":
        module = "mask_detector_ros.imaging.video_encoders"
        program = f"import {module} as e\ne.find_spec = lambda n: None\n" + program
    if encoder == "opencv":
        program = "import shutil\nshutil.which = lambda n: None\n" + program
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        preexec_fn=limit_files(2_000),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot write {path}: "), done.stderr
    assert path.read_bytes() == b"an older video"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
