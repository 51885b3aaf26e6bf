# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: the sample scene, images, videos, cameras and streams.

with open_source("walk.mp4") as source:
    for frame in source:
        ...
"""

from importlib.util import find_spec
from pathlib import Path

from mask_detector_ros.redaction import hide_passwords, without_password
from mask_detector_ros.sources import animations
from mask_detector_ros.sources.base import Frame, FrameSource, frame_name
from mask_detector_ros.sources.captures import open_camera, open_url, open_video
from mask_detector_ros.sources.image_formats import format_name
from mask_detector_ros.sources.images import (
    ImagesSource,
    is_image,
    list_images,
    read_image,
    require_file,
    scan_folder,
)
from mask_detector_ros.sources.source_names import (
    SAMPLE,
    expand_home,
    file_path,
    is_camera,
    is_live,
    source_path,
)

__all__ = [
    "SAMPLE",
    "Frame",
    "FrameSource",
    "expand_home",
    "file_path",
    "hide_passwords",
    "is_live",
    "list_images",
    "open_source",
    "read_image",
    "scan_folder",
    "source_path",
    "without_password",
]

MOTION_JPEG_SUFFIXES = (".mjpeg", ".mjpg")
"""Suffixes of files with one JPEG after the other, a saved camera stream."""

SAMPLE_RATE = 15.0
"""Frames per second at which the sample scene moves naturally."""


def open_source(
    source: str | Path,
    loop: bool = False,
    width: int = 640,
    height: int = 480,
    *,
    every_frame: bool = False,
    recursive: bool = False,
) -> FrameSource:
    """Open a source of frames by its name, of whatever kind.

    Args:
        source: `sample` (the rendered scene, endless), an image, a directory of images (in
            natural order of their names), a video, `/dev/videoN` or its number N, or a URL
            (`rtsp://`, `http://`, `file://`, ...).
        loop: restart after the last frame; no effect on a live source.
        width, height: size of the sample scene in pixels; ignored for other sources.
        every_frame: return every frame of a live source in order, however late; by default a
            newer frame replaces an unread one.
        recursive: whether to include a directory's subfolders.

    Raises:
        SourceError: it does not exist or cannot be read; the message says what to do.
    """
    name = str(source)
    path = source_path(source)
    if path is None:
        if name == SAMPLE:
            return _SampleSource(width, height)
        if is_camera(name):
            return open_camera(name, every_frame)
        return open_url(name, loop, every_frame)
    if path.is_dir():
        folder = scan_folder(path, recursive)
        return ImagesSource(folder.images, loop, folder.left_out)
    require_file(path)
    with path.open("rb") as file:
        head = file.read(animations.HEAD_BYTES)
    kind, animation = format_name(head[:64]), animations.animation_format(head)
    # FFmpeg also opens images. An animation is a video here; `image` takes its first frame.
    if animation in animations.PILLOW_ANIMATIONS and find_spec("PIL"):
        return animations.AnimationSource(path, loop)
    is_video = kind == "GIF" or animation == "PNG" or path.suffix.lower() in MOTION_JPEG_SUFFIXES
    if not is_video and (kind or is_image(path)):
        return ImagesSource([path], loop)
    return open_video(path, loop)


class _SampleSource(FrameSource):
    rate = SAMPLE_RATE

    def __init__(self, width: int, height: int) -> None:
        # Imported here: only the scene needs the package that brings its portraits.
        from mask_detector_ros.sources.sample_scene import SampleScene

        self._scene = SampleScene(width, height)
        self._index = 0

    def read(self) -> Frame:
        image, truth = self._scene.render(self._index)
        frame = Frame(image, truth, frame_name(self._index), self._index / SAMPLE_RATE)
        self._index += 1
        return frame

    def close(self) -> None:
        """Close the sample scene, which holds nothing to release."""
