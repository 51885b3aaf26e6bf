# SPDX-License-Identifier: Apache-2.0
"""Frame sources: every kind of source gives frames, and every broken one says what is wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_files import RED, picture, save, with_pillow

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources import is_live, open_source, scan_folder


def assert_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """OpenCV and FFmpeg add no lines of their own; before 4.5.5, FFmpeg cannot be silenced."""
    if cv2.__version__ >= "4.5.5":
        assert capfd.readouterr().err == ""


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Five frames of 64x48 at 12 Hz, each brighter than the one before."""
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, (64, 48))
    for i in range(5):
        writer.write(np.full((48, 64, 3), 40 * i, np.uint8))
    writer.release()
    return path


def test_an_image_is_one_frame_with_its_file_name(tmp_path):
    save(tmp_path / "one.png", picture())
    with open_source(tmp_path / "one.png") as source:
        frames = list(source)
    assert [frame.name for frame in frames] == ["one.png"]
    np.testing.assert_array_equal(frames[0].image, picture())
    assert frames[0].truth is None
    assert (source.live, source.rate, source.frame_count) == (False, None, 1)


def test_a_looped_image_never_ends(tmp_path):
    save(tmp_path / "one.png", picture())
    with open_source(tmp_path / "one.png", loop=True) as source:
        assert all(source.read() is not None for _ in range(10))


def test_a_directory_is_read_in_the_natural_order_of_its_names(tmp_path):
    for name in ("frame_10.png", "frame_9.png", "Frame_1.png", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_text("") if name == "notes.txt" else save(
            tmp_path / name, picture()
        )
    with open_source(tmp_path) as source:
        assert source.frame_count == 3
        assert [frame.name for frame in source] == ["Frame_1.png", "frame_9.png", "frame_10.png"]


def test_a_looped_directory_begins_again(tmp_path):
    save(tmp_path / "a.png", picture())
    save(tmp_path / "b.png", picture())
    with open_source(tmp_path, loop=True) as source:
        names = [source.read().name for _ in range(5)]
    assert names == ["a.png", "b.png", "a.png", "b.png", "a.png"]


def test_a_broken_image_in_a_directory_is_skipped_with_a_warning(tmp_path, caplog):
    save(tmp_path / "a.png", picture())
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    (tmp_path / "c.jpg").write_bytes(b"")
    save(tmp_path / "d.png", picture())
    with open_source(tmp_path) as source:
        assert [frame.name for frame in source] == ["a.png", "d.png"]
        assert source.skipped == 2
    assert "b.png" in caplog.text
    assert "c.jpg" in caplog.text


@pytest.mark.parametrize("loop", [False, True])
def test_a_directory_of_broken_images_is_an_error_even_when_looped(tmp_path, loop):
    (tmp_path / "a.png").write_bytes(b"no")
    (tmp_path / "b.png").write_bytes(b"no")
    with open_source(tmp_path, loop=loop) as source, pytest.raises(SourceError, match="none of"):
        source.read()


def test_a_video_tells_its_rate_and_length_and_ends(video):
    with open_source(video) as source:
        assert (source.live, source.rate, source.frame_count) == (False, 12.0, 5)
        frames = list(source)
    assert [frame.name for frame in frames] == [f"frame_{i:06d}" for i in range(5)]
    brightness = [float(frame.image.mean()) for frame in frames]
    np.testing.assert_allclose(brightness, [0, 40, 80, 120, 160], atol=3)
    assert frames[0].image.shape == (48, 64, 3)


def test_a_looped_video_begins_again_and_goes_on_counting(video):
    with open_source(video, loop=True) as source:
        frames = [source.read() for _ in range(12)]
    assert frames[-1].name == "frame_000011"
    np.testing.assert_allclose(frames[10].image, frames[0].image)


def test_paths_may_hold_any_letters(tmp_path, video):
    directory = tmp_path / "façade 写真"
    directory.mkdir()
    save(directory / "ü.jpg", picture())
    with open_source(directory) as source:
        assert source.read().name == "ü.jpg"
    moved = video.rename(directory / "прогулка.avi")
    with open_source(moved) as source:
        assert source.frame_count == 5


def test_the_sample_scene_brings_its_truth_and_its_size():
    pytest.importorskip("skimage", reason="the sample scene needs scikit-image's portrait")
    pytest.importorskip("matplotlib", reason="the sample scene needs matplotlib's portrait")
    with open_source("sample", width=320, height=240) as source:
        assert (source.live, source.rate, source.frame_count) == (False, 15.0, None)
        frame = source.read()
    assert frame.image.shape == (240, 320, 3)
    assert frame.image.dtype == np.uint8
    assert len(frame.truth) > 0


@pytest.mark.parametrize(
    ("name", "live"),
    [
        ("0", True),
        ("/dev/video2", True),
        ("rtsp://host/stream", True),
        ("http://host/cam", True),
        ("sample", False),
        ("walk.mp4", False),
        ("/dev/shm/walk.mp4", False),
        ("file:///walk.mp4", False),
    ],
)
def test_cameras_and_urls_are_live(name, live):
    assert is_live(name) is live


def test_a_source_can_be_closed_twice(video):
    source = open_source(video)
    source.close()
    source.close()
    with contextlib.closing(open_source(video)) as again:
        assert again.read() is not None


@pytest.mark.parametrize("name", ["walk.avi", "a:b.avi", "rtsp:x.avi", "50%d.avi", "ä#?.avi"])
def test_a_relative_name_and_a_file_url_name_the_same_video(video, name, monkeypatch):
    monkeypatch.chdir(video.parent)
    video.rename(name)
    for source in (name, Path(name).absolute().as_uri()):
        with open_source(source) as opened:
            assert len(list(opened)) == 5


def test_frames_of_a_video_carry_its_times(video):
    with open_source(video) as source:
        np.testing.assert_allclose([f.time for f in source], np.arange(5) / 12, atol=1e-3)
    with open_source(video, loop=True) as source:
        times = [source.read().time for _ in range(12)]
    np.testing.assert_allclose(np.diff(times), 1 / 12, atol=2e-3)


def test_a_folder_counts_what_it_leaves_out(tmp_path):
    save(tmp_path / "a.png", picture())
    for name in ("notes.txt", "clip.mp4", ".hidden", "sub/b.png", ".git/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path / name, picture()) if name.endswith("png") else (tmp_path / name).touch()
    folder = scan_folder(tmp_path)
    assert [path.name for path in folder.images] == ["a.png"]
    assert folder.left_out == "2 files without images (clip.mp4, notes.txt) and 1 subfolder"
    folder = scan_folder(tmp_path, recursive=True)
    assert [str(p.relative_to(tmp_path)) for p in folder.images] == ["a.png", "sub/b.png"]
    with open_source(tmp_path, recursive=True) as source:
        assert source.frame_count == 2


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        *((".heic", {}), (".avif", {}), (".gif", {}), (".jp2", {}), (".tiff", {}), (".webp", {})),
        *((".jfif", {"format": "JPEG"}), (".jpe", {"format": "JPEG"}), (".dib", {})),
    ],
)
def test_the_formats_of_phones_and_old_programs_are_read_in_folders(tmp_path, suffix, options):
    with_pillow(tmp_path / f"a{suffix}", **options)
    with open_source(tmp_path) as source:
        (frame,) = list(source)
    assert frame.image.shape == (48, 64, 3)
    np.testing.assert_allclose(frame.image[24, 32], RED, atol=6)


def test_an_image_without_a_suffix_is_a_source_too(tmp_path):
    save(tmp_path / "a.png", picture()).rename(tmp_path / "photo")
    with open_source(tmp_path / "photo") as source:
        assert source.frame_count == 1


def test_a_gif_is_a_video_by_itself_and_its_first_frame_in_a_folder(tmp_path):
    image_module = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install pillow")
    frames = [image_module.new("RGB", (64, 48), (80 * i, 0, 0)) for i in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    with open_source(tmp_path / "a.gif") as source:
        assert len(list(source)) == 3
    with open_source(tmp_path) as source:
        assert len(list(source)) == 1


def test_the_saved_stream_of_a_camera_is_a_video(tmp_path):
    """Given one JPEG after the other, of which OpenCV's image reader would read only the first."""
    frames = [cv2.imencode(".jpg", picture((0, 0, 50 * i)))[1].tobytes() for i in range(4)]
    path = tmp_path / "x.mjpeg"
    path.write_bytes(b"".join(frames))
    with open_source(path) as source:
        assert [round(int(f.image[0, 0, 2]), -1) for f in source] == [0, 50, 100, 150]
