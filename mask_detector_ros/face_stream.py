# SPDX-License-Identifier: Apache-2.0
"""FaceStream: from the frames of one camera to tracked faces."""

import warnings
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import FloatArray
from mask_detector_ros.label_roles import find_labels
from mask_detector_ros.tracking.tracker import MAX_GAP, Tracker


class Detector(Protocol):
    """What a stream needs of a `MaskDetector`."""

    @property
    def label_names(self) -> tuple[str, ...]: ...

    @property
    def label_roles(self) -> tuple[str, ...]: ...

    def __call__(self, image: NDArray[np.uint8], near: FloatArray | None = None) -> Faces: ...


class FaceStream:
    """Detects and tracks the faces in the frames of one camera.

        stream = detector.stream()
        for stamp, image in frames:
            faces = stream(image, stamp)
            print(faces.track_ids, faces.labels, stream.count_people())

    Several streams can share a detector; one thread at a time may call them.
    """

    def __init__(
        self, detector: Detector, tracking: bool, smoothing: float, search_every: int
    ) -> None:
        self._detector = detector
        self._tracker = Tracker(smoothing)
        # Also without tracking: a face that is missed for a moment must stay hidden.
        self._privacy_tracker = Tracker(smoothing=0)
        self._tracking, self._search_every = tracking, search_every
        self.reset()

    def configure(self, *, tracking: bool, smoothing: float, search_every: int) -> None:
        """Apply the stream's parameters from the next frame on."""
        (self._privacy_tracker if tracking else self._tracker).reset()
        self._tracking, self._tracker.smoothing = tracking, smoothing
        self._search_every = search_every

    def reset(self) -> None:
        """Forget all people seen in the stream so far. Ids are not reused."""
        self._tracker.reset()
        self._privacy_tracker.reset()
        self._last_boxes = np.empty((0, 4), np.float32)
        self._frames = 0
        self._stamp = 0.0

    def __call__(self, image: NDArray[np.uint8], stamp: float) -> Faces:
        """Detect, label and track the faces of a frame; see `MaskDetector.__call__`.

        Args:
            stamp: when the frame was taken, in seconds of any clock.
        """
        return self.track(self.detect(image, stamp), stamp)

    def detect(self, image: NDArray[np.uint8], stamp: float) -> Faces:
        """Detect and label the faces of the stream's next frame; call `track` next.

        Full-frame detection runs on every `search_every`-th frame and after a gap in the stamps,
        near-face search on the others.
        """
        is_full = self._frames % self._search_every == 0 or abs(stamp - self._stamp) > MAX_GAP
        return self._detector(image, None if is_full else self._last_boxes)

    def track(self, faces: Faces, stamp: float) -> Faces:
        """Track the faces that `detect` returned for this frame, now or in an earlier run."""
        self._frames += 1
        self._stamp = stamp
        tracked = self._active_tracker.update(faces, stamp)
        missed = self._active_tracker.unseen_boxes(people_only=True)
        self._last_boxes = np.concatenate([faces.boxes, missed])
        return tracked if self._tracking else faces

    def see(self, image: NDArray[np.uint8], stamp: float) -> Faces:
        """Deprecated name of `FaceStream.detect`."""
        warnings.warn("use FaceStream.detect", DeprecationWarning, stacklevel=2)
        return self.detect(image, stamp)

    def follow(self, faces: Faces, stamp: float) -> Faces:
        """Deprecated name of `FaceStream.track`."""
        warnings.warn("use FaceStream.track", DeprecationWarning, stacklevel=2)
        return self.track(faces, stamp)

    @property
    def _active_tracker(self) -> Tracker:
        return self._tracker if self._tracking else self._privacy_tracker

    def count_people(self) -> dict[str, int]:
        """Number of people seen in the stream since the start or the last reset, by label."""
        names = self._detector.label_names
        return dict(zip(names, self._tracker.count_people(len(names)), strict=True))

    def unseen_boxes(self) -> NDArray[np.float32]:
        """(M, 4) predicted boxes of all people of the stream whose face was not found in the last
        frame."""
        return self._active_tracker.unseen_boxes()

    def raise_alerts(self, labels: Iterable[str], after: float) -> list[tuple[int, float]]:
        """(track id, seconds) of the stream's tracks with such a label or role for `after` s; each
        once."""
        wanted = find_labels(self._detector.label_names, self._detector.label_roles, labels)
        return self._tracker.raise_alerts(wanted, after)
