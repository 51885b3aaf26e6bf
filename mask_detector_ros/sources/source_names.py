# SPDX-License-Identifier: Apache-2.0
"""What the name of a source means: the sample scene, a file or folder, a camera, or a URL."""

import re
from pathlib import Path

from mask_detector_ros.errors import SourceError
from mask_detector_ros.redaction import without_password
from mask_detector_ros.sources.urls import file_of_url, is_url

SAMPLE = "sample"
"""The name of the rendered sample scene."""


def source_path(source: str | Path) -> Path | None:
    """The file or directory that a source's name means; None for the sample scene, a camera, a
    stream.

    Raises:
        SourceError: the name is empty, or a `file://` URL of another machine.
    """
    name = str(source)
    if name == SAMPLE or is_camera(name) or (is_url(name) and file_of_url(name) is None):
        return None
    return file_path(name)


def file_path(name: str | Path) -> Path:
    """The path that a source's name means if it must be a file or directory, given as such or as a
    `file://` URL.

    Raises:
        SourceError: the name is empty, or another URL.
    """
    text = str(name)
    if not text.strip():
        raise SourceError("the input has an empty name; give a file, a folder, a camera or a URL")
    path = file_of_url(text)
    if path is None and is_url(text):
        raise SourceError(f"{without_password(text)} is not a file; give a file or a file:// URL")
    return path or expand_home(name)


def expand_home(name: str | Path) -> Path:
    """Expand `~` in a source's name; a name such as `~nobody` is unchanged."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def is_live(source: str | Path) -> bool:
    """Whether a source's name means a camera or a stream, which can be reopened when it is lost."""
    return source_path(source) is None and str(source) != SAMPLE


def is_camera(name: str) -> bool:
    """Whether a source's name means a camera: N, `/dev/videoN`, `/dev/v4l/by-id/...`."""
    return name.isdecimal() or re.fullmatch(r"/dev/(video|v4l/).+", name) is not None
