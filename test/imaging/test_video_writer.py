# SPDX-License-Identifier: Apache-2.0
"""Writing video files, with each of the encoders."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import wave
from importlib.util import find_spec

import cv2
import numpy as np
import pytest

from mask_detector_ros.errors import SourceError
from mask_detector_ros.imaging import video_encoders
from mask_detector_ros.imaging.video_writer import VideoWriter

needs_av = pytest.mark.skipif(find_spec("av") is None, reason="needs PyAV: pip install av")
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="needs ffmpeg: apt install ffmpeg"
)
ENCODERS = [
    pytest.param("pyav", marks=needs_av),
    pytest.param("ffmpeg", marks=needs_ffmpeg),
    "opencv",
]


@pytest.fixture(params=ENCODERS)
def encoder(request, monkeypatch):
    """One encoder after the other, as if the better ones were not installed."""
    if request.param != "pyav":
        monkeypatch.setattr(video_encoders, "find_spec", lambda name: None)
    if request.param == "opencv":
        monkeypatch.setattr(video_encoders.shutil, "which", lambda name: None)
    return request.param


def frame(value, height=48, width=64):
    return np.full((height, width, 3), value, np.uint8)


def read(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (result := capture.read())[0]:
        frames.append(result[1])
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return frames, rate


def codec_of(path):
    capture = cv2.VideoCapture(str(path))
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
    capture.release()
    return code.lower()


def test_what_was_written_is_read_back(encoder, tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 12.5) as writer:
        for value in (0, 100, 200):
            writer.write(frame(value))
    frames, rate = read(tmp_path / "a.mp4")
    assert [image.shape for image in frames] == [(48, 64, 3)] * 3
    np.testing.assert_allclose([image.mean() for image in frames], [0, 100, 200], atol=8)
    assert rate == pytest.approx(12.5)
    assert writer.frame_count == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("suffix", [".mp4", ".MP4", ".mov", ".mkv", ".webm"])
def test_the_codec_is_one_that_browsers_play(encoder, suffix, tmp_path, capfd):
    if (encoder, suffix) == ("opencv", ".mov"):
        pytest.skip("VP9 cannot be in .mov")
    with VideoWriter(tmp_path / f"a{suffix}", 10) as writer:
        for value in range(0, 200, 20):
            writer.write(frame(value))
    vp9 = encoder == "opencv" or suffix == ".webm"
    assert codec_of(tmp_path / f"a{suffix}") in ({"vp09", "vp90"} if vp9 else {"avc1", "h264"})
    assert len(read(tmp_path / f"a{suffix}")[0]) == 10
    assert capfd.readouterr().err == ""


def test_frames_are_shown_at_their_times(encoder, tmp_path):
    """Whatever the rate: 0, 0.1, 0.2, then nothing for a second."""
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
    frames, _ = read(tmp_path / "a.mp4")
    assert frames[0].shape == (max(height // 2 * 2, 2), max(width // 2 * 2, 2), 3)


def test_a_frame_of_another_size_keeps_its_shape_between_black_borders(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        writer.write(frame(200, 96, 128))
        writer.write(frame(200, 96, 32))
    frames, _ = read(tmp_path / "a.mp4")
    assert [image.shape for image in frames] == [(96, 128, 3)] * 2
    columns = frames[1].mean(axis=(0, 2))
    assert columns[:40].max() < 30
    assert columns[52:76].min() > 170
    assert columns[88:].max() < 30


def test_the_size_can_be_given(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10, size=(160, 120)) as writer:
        writer.write(frame(200, 30, 80))
    frames, _ = read(tmp_path / "a.mp4")
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
    assert len(read(tmp_path / "new" / name)[0]) == 1


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
    assert len(read(path)[0]) == 1


def test_a_symbolic_link_is_replaced_and_what_it_names_stays(tmp_path):
    (tmp_path / "kept.mp4").write_bytes(b"an older video")
    (tmp_path / "a.mp4").symlink_to(tmp_path / "kept.mp4")
    with VideoWriter(tmp_path / "a.mp4", 10) as writer:
        writer.write(frame(50))
    assert (tmp_path / "kept.mp4").read_bytes() == b"an older video"
    assert len(read(tmp_path / "a.mp4")[0]) == 1


def test_a_place_that_cannot_be_written_is_an_error_at_once(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "a.mp4"):
        with pytest.raises(SourceError, match="cannot write"):
            VideoWriter(path, 10)


def test_a_name_that_is_no_video_is_an_error_with_the_name_to_give(tmp_path):
    with (
        VideoWriter(tmp_path / "a.xyz", 10) as writer,
        pytest.raises(SourceError, match=r"a\.xyz: give a name that ends in \.mp4"),
    ):
        writer.write(frame(50))
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import sys
import numpy as np
from mask_detector_ros.errors import SourceError
from mask_detector_ros.imaging.video_writer import VideoWriter
frames = np.random.default_rng(0).integers(0, 256, (40, 240, 320, 3), np.uint8)
try:
    with VideoWriter(__import__("pathlib").Path(sys.argv[1]), 10) as writer:
        for frame in frames:
            writer.write(frame)
except SourceError as error:
    sys.exit(str(error))
"""


def limit_files():
    """Of 100 kB and more nothing is written, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


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
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot write {path}: "), done.stderr
    assert path.read_bytes() == b"an older video"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def film_with_sound(path, codec):
    """Two seconds of ten frames a second with a tone."""
    import av

    with av.open(str(path), "w") as file:
        video = file.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = file.add_stream(codec, rate=48000)
        for value in range(20):
            image = av.VideoFrame.from_ndarray(frame(10 * value), format="bgr24")
            image.pts = value
            file.mux(video.encode(image))
            tone = np.sin(np.arange(4800) * 0.05)[None].astype(np.float32)
            samples = av.AudioFrame.from_ndarray(tone, format="flt", layout="mono")
            samples.sample_rate, samples.pts = 48000, 4800 * value
            file.mux(sound.encode(samples))
        file.mux(video.encode(None))
        file.mux(sound.encode(None))


@needs_av
@pytest.mark.parametrize(
    ("source", "codec", "suffix", "expected"),
    [
        ("in.mp4", "aac", ".mp4", "aac"),
        ("in.avi", "pcm_s16le", ".mp4", "aac"),
        ("in.mp4", "aac", ".webm", "opus"),
        ("in.mkv", "libopus", ".mkv", "opus"),
    ],
)
def test_the_sound_is_kept(encoder, source, codec, suffix, expected, tmp_path):
    import av

    if encoder == "opencv":
        pytest.skip("OpenCV writes no sound; the command says so")
    film_with_sound(tmp_path / source, codec)
    path = tmp_path / f"out{suffix}"
    with VideoWriter(path, 10, sound=tmp_path / source) as writer:
        for value in range(20):
            writer.write(frame(10 * value), value / 10)
        assert writer.keeps_sound
    with av.open(str(path)) as file:
        assert file.streams.audio[0].codec_context.name == expected
        heard = list(file.decode(audio=0))
    seconds = sum(part.samples for part in heard) / heard[0].sample_rate
    assert seconds == pytest.approx(2.0, abs=0.15)
    assert max(np.abs(part.to_ndarray()).max() for part in heard) > 0


@needs_av
def test_sound_ends_where_an_interrupted_video_ends(tmp_path):
    import av

    film_with_sound(tmp_path / "in.mp4", "aac")
    writer = VideoWriter(tmp_path / "out.mp4", 10, sound=tmp_path / "in.mp4")
    for value in range(5):
        writer.write(frame(10 * value), value / 10)
    writer.close(complete=False)
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.duration / 1e6 == pytest.approx(0.5, abs=0.1)


def test_a_sound_file_without_a_video_is_no_sound_and_no_error(encoder, tmp_path):
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    with VideoWriter(tmp_path / "a.mp4", 10, sound=tmp_path / "none.mp4") as writer:
        if encoder == "ffmpeg":
            pytest.skip("ffmpeg opens what the reader has opened before")
        writer.write(frame(50))
    assert len(read(tmp_path / "a.mp4")[0]) == 1
