"""Cameras and network streams, read in a thread so that a slow reader gets the newest frame."""

from __future__ import annotations

import threading
import time
from collections import deque

import cv2

from mask_detector_ros.errors import SourceError
from mask_detector_ros.sources.base import Frame, FrameSource, frame_name, read_bgr

SILENCE_TIMEOUT = 5.0
"""Seconds that a camera or stream may send nothing before it counts as lost."""

BACKLOG = 64
"""Frames that wait, at most, for a reader who wants every one."""

JOIN_TIMEOUT = 0.5
"""Seconds that closing waits for the thread, which FFmpeg may hold for several more."""


class LiveSource(FrameSource):
    """A camera or a network stream.

    Args:
        capture: opened.
        what: its name in the error that it was lost, and `advice` for that case.
        every_frame: hand out every frame in its turn, where by default a frame that was not
            read yet gives way to a newer one.

    Attributes:
        dropped: how many frames gave way.
    """

    live = True

    def __init__(
        self, capture: cv2.VideoCapture, what: str, advice: str, every_frame: bool
    ) -> None:
        self._capture = capture
        self._lost = f"lost {what}"
        self._advice = advice
        self._every_frame = every_frame
        self._index = 0
        self._waiting: deque[tuple[Frame, float]] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._clock = StreamClock()
        self._thread = threading.Thread(target=self._receive, name="live-source", daemon=True)
        self._thread.start()

    def read(self) -> Frame:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended, SILENCE_TIMEOUT)
            if not self._waiting:
                silence = "" if self._ended else f", which sent nothing for {SILENCE_TIMEOUT:g} s"
                raise SourceError(f"{self._lost}{silence}; {self._advice}")
            frame, _ = self._waiting.popleft()
            self._changed.notify_all()
        return frame

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        # The thread releases the capture, which no other may while it reads.
        self._thread.join(JOIN_TIMEOUT)

    def _receive(self) -> None:
        try:
            while not self._closed:
                asked = time.monotonic()
                image = read_bgr(self._capture)
                now = time.monotonic()
                # What FFmpeg hands out after a long silence is what its decoder still held.
                if image is None or now - asked > SILENCE_TIMEOUT:
                    break
                position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                frame = Frame(
                    image, None, frame_name(self._index), self._clock.time_of(position, now)
                )
                self._index += 1
                self._hand_over(frame, now)
        finally:
            self._capture.release()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _hand_over(self, frame: Frame, now: float) -> None:
        with self._changed:
            if self._every_frame:
                self._changed.wait_for(lambda: len(self._waiting) < BACKLOG or self._closed)
            else:
                self.dropped += len(self._waiting)
                self._waiting.clear()
            if not self._closed:
                self._waiting.append((frame, now))
            self._changed.notify_all()


class StreamClock:
    """Seconds since the first frame: by the stream's own clock while it runs on, else by ours."""

    def __init__(self) -> None:
        self._first_arrival: float | None = None
        self._last = self._position = 0.0

    def time_of(self, position: float, arrival: float) -> float:
        """The time of the next frame, which is later than that of the one before.

        Args:
            position: what the stream says, seconds; 0 or less where it says nothing.
            arrival: when the frame came, seconds of a clock that only moves forward.
        """
        if self._first_arrival is None:
            self._first_arrival, self._arrival, self._position = arrival, arrival, position
            return 0.0
        passed, said = arrival - self._arrival, position - self._position
        # A clock that stands still, runs back or leaps is none.
        step = said if 0 < said < passed + MAX_LEAP and position > 0 else passed
        self._arrival, self._position = arrival, position
        self._last += max(step, 1e-3)
        return self._last


MAX_LEAP = 2.0
"""Seconds that a stream's clock may run ahead of ours between two frames."""
