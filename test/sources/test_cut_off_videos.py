# SPDX-License-Identifier: Apache-2.0
"""Video files that were cut off are recognised."""

import cv2
import numpy as np
import pytest

from mask_detector_ros.sources import open_source
from mask_detector_ros.sources.cut_off_videos import is_cut_off


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".avi", "MJPG"), (".mp4", "mp4v"), (".mkv", "MJPG"), (".mov", "mp4v")]
)
def test_a_cut_is_seen_wherever_it_is(tmp_path, suffix, codec):
    path = tmp_path / f"a{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, (64, 48))
    for value in range(20):
        writer.write(np.full((48, 64, 3), 10 * value, np.uint8))
    writer.release()
    whole = path.read_bytes()
    assert not is_cut_off(path)
    for size in (len(whole) - 1, len(whole) // 2, len(whole) // 5):
        path.write_bytes(whole[:size])
        assert is_cut_off(path), size
    path.write_bytes(whole)
    assert not is_cut_off(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 5, b"G" * 400, b"RIFF1234WAVE", b"\x1aE\xdf\xa3"])
def test_what_says_no_length_counts_as_whole(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert not is_cut_off(tmp_path / "a")


@pytest.mark.parametrize("suffix", [".ts", ".m2ts", ".ogv", ".flv"])
def test_a_cut_inside_a_packet_is_seen(tmp_path, suffix):
    av = pytest.importorskip("av", reason="needs PyAV: pip install av")
    path = tmp_path / f"a{suffix}"
    codec = {".ogv": "libvpx", ".flv": "flv"}.get(suffix, "mpeg2video")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in range(40):
            image = np.random.default_rng(value).integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
    whole = path.read_bytes()
    assert not is_cut_off(path)
    for size in (len(whole) - 1, len(whole) // 2 + 1, len(whole) // 3):
        path.write_bytes(whole[:size])
        assert is_cut_off(path), size
    with open_source(path) as source:
        frames = len(list(source))
        assert 0 < frames < 40
        assert source.skipped
