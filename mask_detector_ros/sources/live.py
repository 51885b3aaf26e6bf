# SPDX-License-Identifier: Apache-2.0
"""Live sources: read cameras and network streams in a thread, so that a slow reader gets the newest
frame."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import cv2

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources.base import Frame, FrameSource, frame_name, read_bgr

SILENCE_TIMEOUT = 5.0
"""Seconds without a frame after which a camera or stream counts as lost."""

BACKLOG = 64
"""Queue length for a reader of every frame."""

JOIN_TIMEOUT = 0.5
"""Seconds that closing waits for the thread, which FFmpeg may hold for several more."""

MAX_LEAP = 2.0
"""Seconds that a stream's clock may run ahead of ours between two frames."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""Seconds between two reconnection attempts; each pause doubles."""


class LiveSource(FrameSource):
    """A camera or a network stream.

    Args:
        what, advice: its name and the remedy in the error when it is lost.
        every_frame: return every frame in order; by default a newer frame replaces an unread
            one.
        has_clock: whether the stream's frame times are real. For JPEG over HTTP FFmpeg invents
            times of 25 frames per second.

    Attributes:
        dropped: number of replaced frames.
    """

    live = True

    def __init__(
        self,
        capture: cv2.VideoCapture,
        what: str,
        advice: str,
        every_frame: bool = False,
        has_clock: bool = False,
    ) -> None:
        self._capture = capture
        self._lost = f"lost {what}"
        self._advice = advice
        self._every_frame, self._has_clock = every_frame, has_clock
        self._index = 0
        self._waiting: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = self._was_silent = False
        self._clock = StreamClock()
        self._began: float | None = None
        self._thread = threading.Thread(target=self._receive, name="live-source", daemon=True)
        self._thread.start()

    def read(self) -> Frame:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended, SILENCE_TIMEOUT)
            if not self._waiting:
                silent = not self._ended or self._was_silent
                silence = f", which sent nothing for {SILENCE_TIMEOUT:g} s" if silent else ""
                raise SourceError(f"{self._lost}{silence}; {self._advice}")
            frame = self._waiting.popleft()
            self._changed.notify_all()
        assert frame.time is not None
        if self._began is None:
            self._began = frame.time
        return replace(frame, time=frame.time - self._began)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        # The thread releases the capture, since no other thread may while it reads.
        self._thread.join(JOIN_TIMEOUT)

    def _receive(self) -> None:
        try:
            while not self._closed:
                asked = time.monotonic()
                image = read_bgr(self._capture)
                now = time.monotonic()
                # FFmpeg's own limit is the same. After a long silence it returns frames that its
                # decoder still held.
                self._was_silent = now - asked > 0.9 * SILENCE_TIMEOUT
                if image is None or self._was_silent:
                    break
                position = 0.0
                if self._has_clock:
                    position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                seconds = self._clock.time_of(position, now)
                frame = Frame(image, None, frame_name(self._index), seconds)
                self._index += 1
                self._hand_over(frame)
        finally:
            self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _hand_over(self, frame: Frame) -> None:
        with self._changed:
            if self._every_frame:
                self._changed.wait_for(lambda: len(self._waiting) < BACKLOG or self._closed)
            else:
                self.dropped += len(self._waiting)
                self._waiting.clear()
            if not self._closed:
                self._waiting.append(frame)
            self._changed.notify_all()


class StreamClock:
    """The clock of a live source: seconds since the first frame, by the stream's clock while it
    advances, otherwise by ours."""

    def __init__(self) -> None:
        self._first_arrival: float | None = None
        self._last = self._position = 0.0

    def time_of(self, position: float, arrival: float) -> float:
        """The time of a live source's next frame, always later than that of the previous one.

        Args:
            position: the stream's time in seconds; 0 or less if it has none.
            arrival: arrival time of the frame in seconds of a monotonic clock.
        """
        if self._first_arrival is None:
            self._first_arrival, self._arrival, self._position = arrival, arrival, position
            return 0.0
        passed, said = arrival - self._arrival, position - self._position
        # Ignore a clock that stops, runs backwards or jumps.
        step = said if 0 < said < passed + MAX_LEAP and position > 0 else passed
        self._arrival, self._position = arrival, position
        self._last += max(step, 1e-3)
        return self._last


class ReconnectingSource(FrameSource):
    """A live source that is reopened whenever it is lost; the reader ends it.

    Args:
        open_again: opens the source; a `SourceError` counts as lost.
        report: called with the reason of a loss, once per run of equal reasons.
    """

    live = True

    def __init__(
        self, open_again: Callable[[], FrameSource], report: Callable[[str], None]
    ) -> None:
        self._open_again, self._report = open_again, report
        self._source: FrameSource | None = None
        self._began: float | None = None
        self._index, self._dropped_before = 0, 0
        self._offset = 0.0

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """Number of frames of the live source that newer ones replaced, over all connections."""
        return self._dropped_before + (self._source.dropped if self._source else 0)

    def read(self) -> Frame | None:
        pause, reason = FIRST_PAUSE, ""
        while True:
            try:
                source = self._source or self._connect()
                frame = source.read()
            except SourceError as error:
                self.close()
                if str(error) != reason:
                    reason = str(error)
                    self._report(reason)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if frame is None:
                    return None
                name, self._index = frame_name(self._index), self._index + 1
                return replace(frame, name=name, time=self._offset + (frame.time or 0.0))

    def _connect(self) -> FrameSource:
        self._source = self._open_again()
        now = time.monotonic()
        self._began = self._began or now
        self._offset = now - self._began
        return self._source

    def close(self) -> None:
        if self._source is not None:
            self._dropped_before += self._source.dropped
            self._source.close()
            self._source = None
