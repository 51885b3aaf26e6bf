# SPDX-License-Identifier: Apache-2.0
"""FrameReader: reads a source for a command until its end or a signal, and totals the results."""

from collections.abc import Iterator
from dataclasses import dataclass

from tqdm import tqdm

from mask_detector_ros.cli.command import StopRequest, print_error
from mask_detector_ros.cli.options import describe_counts
from mask_detector_ros.errors import SourceError
from mask_detector_ros.faces import Faces
from mask_detector_ros.sources import Frame, FrameSource

DEFAULT_RATE = 15.0
"""Frame rate in Hz of the output if the input has no rate."""


class FrameReader:
    """Reads the frames of a source with their times, until its end, a limit or a signal.

    Attributes:
        outcome: why it ended: `end`, `limit`, `interrupted`, or `lost` for a live source.
    """

    def __init__(self, source: FrameSource, stop: StopRequest, limit: int | None) -> None:
        self.source = source
        self.outcome = ""
        self._stop, self._limit = stop, limit

    def __iter__(self) -> Iterator[tuple[Frame, float]]:
        total = self._limit or self.source.frame_count
        rate = self.source.rate or DEFAULT_RATE
        count = 0
        with tqdm(total=total, unit="frame", disable=None) as bar:
            while (frame := self._read()) is not None:
                yield frame, count / rate if frame.time is None else frame.time
                count += 1
                bar.update()
                if count == self._limit:
                    self.outcome = "limit"
                    return

    def _read(self) -> Frame | None:
        try:
            with self._stop.interrupting():
                frame = self.source.read()
        except KeyboardInterrupt:
            self.outcome = "interrupted"
            return None
        except SourceError as error:
            if not self.source.live:
                raise
            print_error(str(error))
            self.outcome = "lost"
            return None
        if frame is None:
            self.outcome = "end"
        return frame


@dataclass
class Totals:
    """The totals of a command over the frames read so far.

    Attributes:
        labels: faces by label.
        frames: number of frames.
        seconds: time spent in the detector.
        most_faces: largest number of faces in one frame.
        overrun: number of frames with more than `max_candidates`.
    """

    labels: dict[str, int]
    frames: int = 0
    seconds: float = 0.0
    most_faces: int = 0
    overrun: int = 0

    def add(self, faces: Faces, seconds: float) -> None:
        self.frames += 1
        self.seconds += seconds
        self.most_faces = max(self.most_faces, len(faces))
        for label in faces.labels:
            self.labels[label] += 1

    def describe(self, source: FrameSource) -> str:
        """A one-line summary of the frames and faces so far."""
        pace = (
            f", {self.frames / self.seconds:.1f} frames/s in the detector" if self.seconds else ""
        )
        summary = f"{self.frames} frames{pace}"
        if source.dropped:
            summary += f"; {source.dropped} frames dropped for newer ones"
        return f"{summary}; faces seen: {describe_counts(self.labels)}"
