"""Where pictures come from: the sample scene, images, videos, cameras and streams.

with open_source("walk.mp4") as source:
    for frame in source:
        ...
"""

from __future__ import annotations

from pathlib import Path

from mask_detector_ros.sources.base import Frame, FrameSource, frame_name
from mask_detector_ros.sources.captures import (
    is_camera,
    is_url,
    open_camera,
    open_url,
    open_video,
    without_password,
)
from mask_detector_ros.sources.images import ImagesSource, is_image, list_images, read_image

__all__ = [
    "SAMPLE",
    "Frame",
    "FrameSource",
    "is_live",
    "list_images",
    "open_source",
    "read_image",
    "without_password",
]

SAMPLE = "sample"
"""The name of the rendered sample scene."""

SAMPLE_RATE = 15.0
"""Frames per second at which the sample scene moves naturally."""


def open_source(
    source: str | Path, *, loop: bool = False, width: int = 640, height: int = 480
) -> FrameSource:
    """Open whatever `source` names.

    Args:
        source: `sample` (the rendered scene, endless), an image, a directory of images (in
            natural order of their names), a video, `/dev/videoN` or its number N, or a URL
            (`rtsp://`, `http://`, ...).
        loop: begin again after the last frame; without meaning for a live source.
        width, height: the size of the sample scene in pixels; others have their own.

    Raises:
        SourceError: it does not exist or cannot be read; the message says what to do.
    """
    name = str(source)
    if name == SAMPLE:
        return _SampleSource(width, height)
    if is_url(name):
        return open_url(name, loop)
    if is_camera(name):
        return open_camera(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return ImagesSource(list_images(path), loop)
    if is_image(path):
        return ImagesSource([path], loop)
    return open_video(path, loop)


def is_live(source: str | Path) -> bool:
    """Whether `source` names a camera or a stream, which can come back when it is lost."""
    return is_url(str(source)) or is_camera(str(source))


class _SampleSource(FrameSource):
    rate = SAMPLE_RATE

    def __init__(self, width: int, height: int) -> None:
        # Only who asks for the scene needs the package that brings its portraits.
        from mask_detector_ros.sources.sample_scene import SampleScene

        self._scene = SampleScene(width, height)
        self._index = 0

    def read(self) -> Frame:
        image, truth = self._scene.render(self._index)
        frame = Frame(image, truth, frame_name(self._index))
        self._index += 1
        return frame

    def close(self) -> None:
        """Nothing to release."""
