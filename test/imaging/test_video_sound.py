# SPDX-License-Identifier: Apache-2.0
"""The sound of a video stays synchronised with its images."""

import wave

import numpy as np
import pytest
from command_line import read_video

from mask_detector_ros.errors import SourceError
from mask_detector_ros.imaging.video_writer import VideoWriter

av = pytest.importorskip("av", reason="needs PyAV: pip install av")


def frame(value, height=48, width=64):
    return np.full((height, width, 3), value, np.uint8)


def film_with_sound(path, codec):
    """Two seconds of ten frames a second with a tone."""
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
    film_with_sound(tmp_path / source, codec)
    path = tmp_path / f"out{suffix}"
    with VideoWriter(path, 10, sound=tmp_path / source) as writer:
        for value in range(20):
            writer.write(frame(10 * value), value / 10)
        assert writer.keeps_sound == (encoder != "opencv")
    if encoder == "opencv":
        return
    with av.open(str(path)) as file:
        assert file.streams.audio[0].codec_context.name == expected
        heard = list(file.decode(audio=0))
    seconds = sum(part.samples for part in heard) / heard[0].sample_rate
    assert seconds == pytest.approx(2.0, abs=0.15)
    assert max(np.abs(part.to_ndarray()).max() for part in heard) > 0


def test_sound_ends_where_an_interrupted_video_ends(tmp_path):
    film_with_sound(tmp_path / "in.mp4", "aac")
    writer = VideoWriter(tmp_path / "out.mp4", 10, sound=tmp_path / "in.mp4")
    for value in range(5):
        writer.write(frame(10 * value), value / 10)
    writer.close(complete=False)
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.duration / 1e6 == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("name", ["in.wav", "none.mp4"])
def test_a_sound_file_without_a_video_is_no_sound_and_no_error(encoder, name, tmp_path):
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    writer = VideoWriter(tmp_path / "a.mp4", 10, sound=tmp_path / name)
    if (encoder, name) == ("ffmpeg", "none.mp4"):
        # FFmpeg may end only after it has taken the frame.
        with pytest.raises(SourceError, match=r"none\.mp4: No such file"), writer:
            writer.write(frame(50))
        return
    with writer:
        writer.write(frame(50))
    assert len(read_video(tmp_path / "a.mp4")) == 1
