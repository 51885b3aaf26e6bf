# SPDX-License-Identifier: Apache-2.0
"""Frame sources: every kind of source gives frames, and every broken one says what is wrong."""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources import is_live, open_source, read_image, scan_folder

RED = (0, 0, 255)


def picture(color: tuple[int, ...] = RED, height: int = 12, width: int = 16) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def assert_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """OpenCV and FFmpeg add no lines of their own; before 4.5.5, FFmpeg cannot be silenced."""
    if cv2.__version__ >= "4.5.5":
        assert capfd.readouterr().err == ""


def save(path: Path, image: np.ndarray) -> Path:
    """Write by way of memory: cv2.imwrite cannot open every Unicode path."""
    encoded, data = cv2.imencode(path.suffix, image)
    assert encoded
    data.tofile(path)
    return path


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


GRAY16 = np.full((6, 8), 0x8040, np.uint16)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.full((6, 8), 77, np.uint8), (77, 77, 77)),
        (GRAY16, (0x80, 0x80, 0x80)),
        (np.full((6, 8, 4), (10, 20, 30, 0), np.uint8), (10, 20, 30)),
        (np.full((6, 8, 3), (0x1000, 0x2000, 0x3000), np.uint16), (0x10, 0x20, 0x30)),
    ],
    ids=["gray", "16-bit gray", "alpha", "16-bit color"],
)
def test_every_kind_of_image_becomes_bgr_uint8(tmp_path, stored, expected):
    image = read_image(save(tmp_path / "x.png", stored))
    assert image.shape == (6, 8, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[0, 0], expected)


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an APP1 segment that holds nothing but the Orientation tag (0x0112)."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_a_photograph_taken_sideways_is_turned_upright(tmp_path):
    plain = save(tmp_path / "x.jpg", picture(height=10, width=30))
    plain.write_bytes(with_exif_orientation(plain.read_bytes(), 6))
    assert read_image(plain).shape == (30, 10, 3)


def write_text(path: Path) -> Path:
    path.write_text("These are not moving pictures.\n" * 400)
    return path


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


def test_a_broken_image_file_says_so(tmp_path):
    with pytest.raises(SourceError, match="damaged or not an image"):
        open_source(write_text(tmp_path / "x.png"))


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


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_an_error_and_not_the_current_folder(name, tmp_path, monkeypatch):
    save(tmp_path / "a.png", picture())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="empty name"):
        open_source(name)


def test_a_file_url_of_another_machine_is_an_error():
    with pytest.raises(SourceError, match="machine 'nas'"):
        open_source("file://nas/walk.avi")


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


def with_pillow(path: Path, **options) -> None:
    """A red image, written by Pillow in the format of the suffix."""
    image_module = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install pillow")
    if path.suffix == ".heic":
        heif = pytest.importorskip("pillow_heif", reason="needs: pip install pillow-heif")
        heif.register_heif_opener()
    image_module.new("RGB", (64, 48), (255, 0, 0)).save(path, **options)


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


def test_heic_without_its_package_is_named_as_heic(tmp_path, monkeypatch):
    with_pillow(tmp_path / "a.heic")
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(SourceError, match=r"a HEIC photograph, .*pip install pillow-heif"):
        read_image(tmp_path / "a.heic")


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"8BPS", "Photoshop"), (b"%PDF-1.7", "PDF"), (b"\x89PNG\r\n\x1a\n", "PNG")],
)
def test_an_image_that_nobody_can_read_is_named_by_its_kind(tmp_path, start, kind):
    (tmp_path / "a.jpg").write_bytes(start + bytes(100))
    with pytest.raises(SourceError, match=f"is {kind}, damaged or of a kind that OpenCV cannot"):
        read_image(tmp_path / "a.jpg")


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
