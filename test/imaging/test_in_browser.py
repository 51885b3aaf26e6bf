# SPDX-License-Identifier: Apache-2.0
"""The files of the video writer and the commands play in a real browser."""

import base64
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from browser import VideoPlayer, find_browser

from mask_detector_ros.cli import main
from mask_detector_ros.imaging import video_encoders
from mask_detector_ros.imaging.video_writer import VideoWriter

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="needs a browser: apt install chromium"
)


@pytest.fixture(params=["pyav", "ffmpeg", "opencv"])
def encoder(request, monkeypatch):
    if request.param == "pyav":
        pytest.importorskip("av", reason="needs PyAV: pip install av")
    else:
        monkeypatch.setattr(video_encoders, "find_spec", lambda name: None)
    if request.param == "ffmpeg" and video_encoders.shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: apt install ffmpeg")
    if request.param == "opencv":
        monkeypatch.setattr(video_encoders, "shutil", SimpleNamespace(which=lambda name: None))
    return request.param


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """Play a video in the browser; return what it says of it."""
    player = VideoPlayer(tmp_path_factory.mktemp("profile"))
    yield player.play
    player.close()


def last_image(answer):
    data = base64.b64decode(answer["image"].partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_every_encoder_s_video_plays_to_its_end(encoder, suffix, play, tmp_path):
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, 20) as writer:
        for value in range(0, 201, 10):
            writer.write(np.full((120, 160, 3), value, np.uint8))
    answer = play(path)
    assert "error" not in answer, answer
    assert (answer["width"], answer["height"]) == (160, 120)
    assert answer["duration"] == pytest.approx(21 / 20, abs=0.15)
    assert answer["frames"] > 5
    assert last_image(answer).mean() == pytest.approx(200, abs=25)


def test_the_command_s_video_plays_with_its_sound(play, tmp_path, astronaut_file):
    av = pytest.importorskip("av", reason="needs PyAV: pip install av")
    face = cv2.imread(str(astronaut_file))
    with av.open(str(tmp_path / "in.mkv"), "w") as file:
        video = file.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 256, 256, "yuv420p"
        sound = file.add_stream("pcm_s16le", rate=8000)
        sound.layout = "mono"
        for number in range(15):
            file.mux(video.encode(av.VideoFrame.from_ndarray(face, format="bgr24")))
            tone = (8000 * np.sin(np.arange(800) * 0.3)).astype(np.int16)[None]
            samples = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            samples.sample_rate, samples.pts = 8000, 800 * number
            file.mux(sound.encode(samples))
        file.mux(video.encode(None))
    command = ["video", str(tmp_path / "in.mkv"), "-o", str(tmp_path / "out.mp4")]
    assert main([*command, "--min-face-size", "60", "--threads", "1"]) == 0
    answer = play(tmp_path / "out.mp4")
    assert "error" not in answer, answer
    assert answer["sound"] > 0
    assert answer["duration"] == pytest.approx(1.5, abs=0.2)
