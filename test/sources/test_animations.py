# SPDX-License-Identifier: Apache-2.0
"""Images of several frames: all are read as a video, and one alone is never taken silently."""

import logging

import numpy as np
import pytest

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources import open_source, read_image
from mask_detector_ros.sources.animations import animation_format

pil = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install pillow")


def make_animation(path, count=4, duration=200, size=(64, 48)):
    frames = [pil.new("RGB", size, (60 * i, 0, 0)) for i in range(count)]
    try:
        timing = {} if path.suffix == ".tiff" else {"duration": duration, "loop": 0}
        frames[0].save(path, save_all=True, append_images=frames[1:], **timing)
    except (OSError, KeyError, ValueError) as error:
        pytest.skip(f"this Pillow cannot write {path.suffix} ({error})")
    return path


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif"])
def test_an_animation_is_a_video(tmp_path, suffix):
    with open_source(make_animation(tmp_path / f"a{suffix}")) as source:
        frames = list(source)
        assert source.rate == pytest.approx(5)
    reds = [int(frame.image[24, 32, 2]) for frame in frames]
    np.testing.assert_allclose(reds, [0, 60, 120, 180], atol=8)
    np.testing.assert_allclose([frame.time for frame in frames], [0, 0.2, 0.4, 0.6], atol=1e-6)


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_an_animation_in_a_loop_goes_on(tmp_path, suffix):
    with open_source(make_animation(tmp_path / f"a{suffix}"), loop=True) as source:
        times = [source.read().time for _ in range(6)]
    np.testing.assert_allclose(np.diff(times), 0.2, atol=1e-6)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif", ".tiff"])
def test_the_first_frame_alone_is_read_with_one_warning(tmp_path, suffix, caplog):
    path = make_animation(tmp_path / f"a{suffix}")
    with caplog.at_level(logging.WARNING, "mask_detector_ros"):
        for _ in range(2):
            assert read_image(path).shape == (48, 64, 3)
    (warning,) = caplog.messages
    assert warning.startswith(f"only the first frame of {path} is read: it is a")


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif", ".tiff"])
def test_a_single_image_is_none(tmp_path, suffix, caplog):
    make_animation(tmp_path / f"a{suffix}", count=1, size=(640, 480))
    read_image(tmp_path / f"a{suffix}")
    assert caplog.messages == []


def test_a_damaged_animation_says_so(tmp_path):
    path = make_animation(tmp_path / "a.webp")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SourceError, match=r"damaged|cannot be read"), open_source(path) as source:
        list(source)


@pytest.mark.parametrize("head", [b"", b"GIF8", b"GIF89a" + b"\0" * 5, b"RIFF", b"\x89PNG"])
def test_a_short_file_is_no_animation(head):
    assert animation_format(head) == ""
