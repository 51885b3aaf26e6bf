# SPDX-License-Identifier: Apache-2.0
"""The demo's source and output files."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mask_detector_ros.sources import SAMPLE, is_live, open_source, source_path, without_password
from mask_detector_ros.sources.images import ImagesSource

RATE = 15.0
PHOTOGRAPH_RATE = 1.0
"""Frame rates in Hz: of the sample scene and the video; of a folder of photographs."""

ENDLESS_DURATION = 15.0
"""Default duration in seconds of a source without an end."""

PHOTOGRAPH_SIZE = (960, 720)
"""Size of the video for photographs, which differ in size."""

MAX_VIDEO_RATE = 120.0


@dataclass(frozen=True)
class DemoFiles:
    """The demo's output files; those of an earlier run are replaced."""

    folder: Path

    @property
    def video(self) -> Path:
        return self.folder / "annotated.mp4"

    @property
    def log(self) -> Path:
        return self.folder / "detections.jsonl"

    def __iter__(self) -> Iterator[Path]:
        return iter((self.video, self.log))


@dataclass(frozen=True)
class DemoSource:
    """The source that the demo plays.

    Attributes:
        name: the name as given; it may contain a password, unlike `shown`.
        path: the file or folder; None for the scene, a camera or a stream.
        is_live, is_folder: the kind of source; a single image counts as a folder.
        rate: frame rate of the video in Hz.
        duration: seconds to play; None plays a file to its end.
    """

    name: str
    shown: str
    path: Path | None
    is_live: bool
    is_folder: bool
    rate: float
    duration: float | None

    @property
    def paced_by_clock(self) -> bool:
        """Whether the demo's frames arrive in real time; frames of files wait for the detector."""
        return self.path is None


def inspect_source(name: str, duration: float | None) -> DemoSource:
    """Open the demo's source once, to report a wrong name early and with its cause.

    Raises:
        SourceError: it cannot be opened, or holds no frame.
    """
    shown = without_password(name)
    if name == SAMPLE:
        return DemoSource(name, shown, None, False, False, RATE, duration or ENDLESS_DURATION)
    live, path = is_live(name), source_path(name)
    with open_source(name) as source:
        source.read()
        folder = isinstance(source, ImagesSource)
        if isinstance(source, ImagesSource) and source.left_out:
            print(f"left out of {shown}: {source.left_out}", file=sys.stderr)
        rate = PHOTOGRAPH_RATE if folder else source.rate or RATE
    if duration is None and live and source.frame_count is None:
        duration = ENDLESS_DURATION
    return DemoSource(name, shown, path, live, folder, min(rate, MAX_VIDEO_RATE), duration)
