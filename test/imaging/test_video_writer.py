"""Writing mp4 files."""

import cv2
import numpy as np
import pytest

from mask_detector_ros.errors import SourceError
from mask_detector_ros.imaging.video_writer import VideoWriter


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


def test_what_was_written_is_read_back(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 12.5) as writer:
        for value in (0, 100, 200):
            writer.write(frame(value))
    frames, rate = read(tmp_path / "a.mp4")
    assert [image.shape for image in frames] == [(48, 64, 3)] * 3
    np.testing.assert_allclose([image.mean() for image in frames], [0, 100, 200], atol=8)
    assert rate == pytest.approx(12.5)
    assert writer.frame_count == 3


@pytest.mark.parametrize(("height", "width"), [(47, 63), (1, 1), (48, 1)])
def test_odd_sizes_become_even(tmp_path, height, width):
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


def test_the_folder_is_made(tmp_path):
    with VideoWriter(tmp_path / "new" / "deep" / "größe 1.mp4", 10) as writer:
        writer.write(frame(50))
    assert len(read(tmp_path / "new" / "deep" / "größe 1.mp4")[0]) == 1


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


def test_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"an older video" * 10000)
    with VideoWriter(path, 10) as writer:
        writer.write(frame(50))
    assert len(read(path)[0]) == 1


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "a.mp4"):
        with pytest.raises(SourceError, match="cannot write"):
            VideoWriter(path, 10)


def test_a_name_that_is_no_video_is_refused_with_the_name_to_give(tmp_path):
    with (
        VideoWriter(tmp_path / "a.xyz", 10) as writer,
        pytest.raises(SourceError, match=r"give a name that ends in \.mp4"),
    ):
        writer.write(frame(50))
