# SPDX-License-Identifier: Apache-2.0
"""A file with sound alone is reported as such; one with video is read as a video."""

import numpy as np
import pytest

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources import open_source
from mask_detector_ros.sources.sound_files import holds_only_sound

av = pytest.importorskip("av", reason="needs PyAV: pip install av")

KINDS = [
    *(("mp3", "libmp3lame"), ("m4a", "aac"), ("mp4", "aac"), ("mov", "aac"), ("mka", "aac")),
    *(("webm", "libopus"), ("opus", "libopus"), ("wav", "pcm_s16le"), ("flac", "flac")),
    *(("aac", "aac"), ("aiff", "pcm_s16be"), ("avi", "pcm_s16le"), ("flv", "aac"), ("ac3", "ac3")),
]


def write(path, codec=None, video=None):
    """Write a second of sound, a few frames, or both."""
    with av.open(str(path), "w") as container:
        try:
            sound = container.add_stream(codec, rate=48000, layout="mono") if codec else None
        except av.error.FFmpegError as error:
            pytest.skip(f"this PyAV has no encoder {codec} ({error})")
        film = container.add_stream(video, rate=25) if video else None
        if film:
            film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
            for seed in range(5):
                image = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)
                container.mux(film.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(film.encode(None))
        if sound:
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 4800), np.int16), format="s16", layout="mono"
            )
            frame.sample_rate = 48000
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
def test_sound_alone_is_named(tmp_path, suffix, codec):
    path = write(tmp_path / f"a.{suffix}", codec)
    with pytest.raises(SourceError, match="holds sound and no video; give a video or an image"):
        open_source(path)


@pytest.mark.parametrize(
    ("suffix", "video"),
    [
        *(("mp4", "mpeg4"), ("mov", "mpeg4"), ("mkv", "mpeg4"), ("webm", "libvpx")),
        *(("avi", "mpeg4"), ("flv", "flv"), ("ts", "mpeg2video"), ("ogv", "libvpx")),
    ],
)
@pytest.mark.parametrize("sound", [True, False])
def test_a_video_is_none(tmp_path, suffix, video, sound):
    codec = {"webm": "libopus", "ogv": "libopus", "ts": "mp2"}.get(suffix, "aac") if sound else None
    path = write(tmp_path / f"a.{suffix}", codec, video)
    assert not holds_only_sound(path)
    with open_source(path) as source:
        assert len(list(source)) == 5


@pytest.mark.parametrize("content", [b"", b"OggS", b"\xff\xd8\xff\xe0", b"\0\0\0\x08free" * 9])
def test_what_is_unknown_is_no_sound(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert not holds_only_sound(tmp_path / "a")


def test_only_the_movie_box_names_the_tracks(tmp_path):
    """Data behind it is not read, even if the box is empty."""
    media = b"hdlr" + bytes(8) + b"soun"
    (tmp_path / "a").write_bytes(b"\0\0\0\x08ftyp\0\0\0\x08moov\0\0\0\x18mdat" + media)
    assert not holds_only_sound(tmp_path / "a")
