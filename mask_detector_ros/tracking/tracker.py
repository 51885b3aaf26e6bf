# SPDX-License-Identifier: Apache-2.0
"""Track faces from frame to frame: stable ids, and labels smoothed over several observations.

Each track has a Kalman filter (`Track`). Faces are assigned to tracks at least total cost
(`linear_assignment`).
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import NO_LABEL, Faces
from mask_detector_ros.tracking.assignment import linear_assignment
from mask_detector_ros.tracking.track import FIRST_SPEED, MEASUREMENT_NOISE, Array, Track

MAX_GAP, MAX_FIRST_GAP = 1.5, 0.5
"""Seconds that a track outlives its last observation: a person's, and an unconfirmed one's."""

MIN_HITS, MIN_AGE, MIN_MEAN_SCORE = 3, 0.5, 0.6
"""A track counts as a person from this many observations, this many seconds, and this mean face
score (0 for images without an observation): false faces seldom last, or come and go."""

MIN_STEP, UNSTAMPED_PERIOD = 1e-3, 1 / 15
"""Seconds. A smaller step between stamps counts as no step; then the second value is assumed."""

GATE = 3.5
"""Gate for a match, in standard deviations from the predicted position."""

MAX_RESIZE = math.log(2)
"""Logarithm of the largest factor by which a face grows or shrinks between two observations."""

LABEL_WEIGHT = 4.0
"""Assignment cost of an entirely different label, in squared standard deviations. It tells two
crossing people apart."""

SCORE_POWER = 8
"""An observation's weight is its face score to this power (`benchmark.tracking`: turning)."""

HYSTERESIS = 0.25
"""Evidence by which another label must lead to replace the current one."""


class Tracker:
    """Adds track ids, track ages and smoothed labels to the faces of one camera.

        tracker = Tracker()
        for stamp, image in frames:
            faces = tracker.update(detector(image), stamp)

    Args:
        smoothing: seconds over which the evidence for a label counts (the time constant of an
            exponential mean of the probabilities); 0 keeps the classifier's labels.
            The current label of a track has an advantage (`HYSTERESIS`), which its probability
            includes: the most probable label is always the track's.
    """

    def __init__(self, smoothing: float = 1.0) -> None:
        self.smoothing = smoothing
        self._next_id = 1
        self.reset()

    def reset(self) -> None:
        """End all tracks of the tracker and reset the counts. Ids are not reused."""
        self._tracks: list[Track] = []
        self._stamp: float | None = None
        self._images = 0
        self._gone: Counter[int] = Counter()

    def update(self, faces: Faces, stamp: float) -> Faces:
        """Track the faces of the next frame: return them with `track_ids`, `track_ages` and
        smoothed `probabilities` and labels.

        Args:
            faces: the faces of one image, in source pixels.
            stamp: time of the image, in seconds of any clock. Stamps that do not advance count as
                15 images per second; a jump back or ahead ends all tracks.
        """
        step, now = self._advance(stamp), stamp
        self._images += 1
        # An invalid box must not corrupt the other tracks.
        usable: NDArray[np.bool_] = np.isfinite(faces.boxes).all(axis=1)  # type: ignore[assignment]
        boxes = np.where(usable[:, None], faces.boxes, 0).astype(np.float64)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        sizes = np.sqrt(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3).prod(axis=1))
        shapes = (boxes - np.tile(centres, 2)) / sizes[:, None]
        measured = np.column_stack([centres, np.log(sizes)])
        for track in self._tracks:
            track.predict(step)
        owners = self._assign(measured, usable, faces.probabilities)
        tracks = []
        for i, owner in enumerate(owners):
            track = owner or self._begin(measured[i], now, faces, i)
            if owner is not None:
                track.correct(measured[i])
                self._observe(track, faces, i, now)
            elif usable[i]:
                self._tracks.append(track)
            track.shape = shapes[i]
            tracks.append(track)
        self._end_lost(now)
        probabilities = faces.probabilities
        if faces.label_names and tracks and self.smoothing > 0:
            probabilities = np.array([t.probabilities for t in tracks], np.float32)
        return replace(
            faces,
            probabilities=probabilities,
            label_ids=np.array([t.label for t in tracks], np.int64),
            track_ids=np.array([t.id for t in tracks], np.int64),
            track_ages=np.array([now - t.first_seen for t in tracks], np.float64),
        )

    def count_people(self, label_count: int) -> list[int]:
        """Number of people tracked since the start or the last reset, by label.

        A person is a track of at least `MIN_HITS` observations over at least `MIN_AGE` seconds. A
        person who returns after more than `MAX_GAP` seconds counts again.
        """
        seen = self._gone + Counter(t.label for t in self._tracks if t.is_person)
        return [seen[k] for k in range(label_count)]

    def unseen_boxes(self, people_only: bool = False) -> NDArray[np.float32]:
        """(M, 4) predicted boxes of the tracker's tracks whose face was not found in the last
        frame.

        Includes unconfirmed tracks by default: privacy must not wait for confirmation.
        """
        unseen = (t for t in self._tracks if t.last_seen != self._stamp)
        boxes = [t.box for t in unseen if t.is_person or not people_only]
        return np.array(boxes, np.float32).reshape(-1, 4)

    def raise_alerts(self, label_ids: set[int], after: float) -> list[tuple[int, float]]:
        """The tracker's tracks that have had one of these labels for `after` seconds; each is
        returned once.

        Returns:
            (track id, seconds) of people found in the last image.
        """
        raised = []
        for track in self._tracks:
            seconds = track.last_seen - track.label_since
            due = track.is_person and track.label in label_ids and seconds >= after
            if due and not track.alerted and track.last_seen == self._stamp:
                track.alerted = True
                raised.append((track.id, seconds))
        return raised

    def _advance(self, stamp: float) -> float:
        """Advance to `stamp`; return the seconds since the last image."""
        step = 0.0 if self._stamp is None else stamp - self._stamp
        if abs(step) > MAX_GAP:
            for track in self._tracks:
                self._leave(track)
            self._tracks = []
        elif step < MIN_STEP and self._stamp is not None:
            step = UNSTAMPED_PERIOD
            self._shift(self._stamp + step - stamp)
        self._stamp = stamp
        return step

    def _shift(self, seconds: float) -> None:
        """Shift past times back, so that ages keep growing while stamps do not advance."""
        for track in self._tracks:
            track.first_seen -= seconds
            track.last_seen -= seconds
            track.label_since -= seconds

    def _assign(
        self, measured: Array, usable: NDArray[np.bool_], probabilities: NDArray[np.float32]
    ) -> list[Track | None]:
        """The track of each face, or None for a new face.

        Confirmed tracks are assigned first: a possibly false face must not take their match.
        """
        owners: list[Track | None] = [None] * len(measured)
        free = usable.copy()
        for is_person in (True, False):
            tracks = [track for track in self._tracks if track.is_person is is_person]
            for track, face in _match(tracks, measured, free, probabilities):
                owners[face] = track
                free[face] = False
        return owners

    def _begin(self, measured: Array, now: float, faces: Faces, i: int) -> Track:
        track = Track(
            self._next_id,
            np.column_stack([measured, np.zeros(3)]),
            np.diag([MEASUREMENT_NOISE**2, FIRST_SPEED**2]),
            first_seen=now,
            last_seen=now,
            hits=1,
            evidence=faces.probabilities[i].astype(np.float64),
            weight=_weight(faces, i),
            label=int(faces.label_ids[i]),
            hold=0.0,
            label_since=now,
            first_image=self._images,
            sum_of_scores=float(faces.scores[i]),
        )
        self._next_id += 1
        return track

    def _observe(self, track: Track, faces: Faces, i: int, now: float) -> None:
        """Add an observation to the evidence for a track's label."""
        label = int(faces.label_ids[i])
        if self.smoothing > 0 and label != NO_LABEL and track.label != NO_LABEL:
            weight = _weight(faces, i)
            track.weight *= math.exp((track.last_seen - now) / self.smoothing)
            track.weight += weight
            track.evidence += weight / track.weight * (faces.probabilities[i] - track.evidence)
            best = int(track.evidence.argmax())
            lead = track.evidence[best] - track.evidence[track.label]
            # The first observation may be wrong, so the label of a new track changes more easily.
            track.hold = HYSTERESIS * (1 - 1 / (track.hits + 1))
            label = best if lead > track.hold else track.label
        else:
            track.evidence = faces.probabilities[i].astype(np.float64)
            track.weight, track.hold = _weight(faces, i), 0.0
        if label != track.label:
            track.label, track.label_since = label, now
        track.last_seen = now
        track.hits += 1
        lasts = track.hits >= MIN_HITS and now - track.first_seen > MIN_AGE - 1e-6
        track.sum_of_scores += float(faces.scores[i])
        images = self._images - track.first_image + 1
        track.is_person |= lasts and track.sum_of_scores >= MIN_MEAN_SCORE * images

    def _end_lost(self, now: float) -> None:
        for track in list(self._tracks):
            gap = MAX_GAP if track.is_person else MAX_FIRST_GAP
            if now - track.last_seen > gap:
                self._leave(track)
                self._tracks.remove(track)

    def _leave(self, track: Track) -> None:
        if track.is_person:
            self._gone[track.label] += 1


def _weight(faces: Faces, i: int) -> float:
    """The weight of a face as evidence. A face that is cut off by the image edge or half occluded
    has a lower score and is easily misclassified."""
    return max(float(faces.scores[i]), 1e-3) ** SCORE_POWER


def _match(
    tracks: list[Track],
    measured: Array,
    usable: NDArray[np.bool_],
    probabilities: NDArray[np.float32],
) -> Iterator[tuple[Track, int]]:
    """Pairs of a track and the index of its face, for the tracks that have one."""
    if not tracks or not usable.any():
        return
    states = np.array([t.state[:, 0] for t in tracks])
    sizes = np.exp(states[:, 2])[:, None]
    variances = np.array([t.covariance[0, 0] for t in tracks])[:, None]
    variances += MEASUREMENT_NOISE**2
    offsets = measured[None] - states[:, None]
    apart = np.hypot(offsets[..., 0], offsets[..., 1]) / sizes
    resized = np.abs(offsets[..., 2])
    distance = (apart**2 + resized**2) / variances
    # A face that overlaps the track's box is a candidate, whatever the filter predicts.
    possible = ((distance < GATE**2) | (apart < 1)) & (resized < MAX_RESIZE) & usable
    # Twice the negative log likelihood. By distance alone, a track long out of sight has such a
    # wide prediction that it would take faces from visible tracks.
    cost = distance + 3 * np.log(variances)
    if probabilities.shape[1]:
        evidence = np.array([t.evidence for t in tracks])
        unlike = np.abs(evidence[:, None] - probabilities[None]).sum(axis=2) / 2
        cost += LABEL_WEIGHT * unlike
    # Larger than any sum of valid pairs, so that as many pairs as possible are made.
    cost = np.where(possible, cost, 1e6)
    rows, columns = (np.flatnonzero(possible.any(axis=axis)).tolist() for axis in (1, 0))
    for i, j in linear_assignment(cost[rows][:, columns]):
        if possible[rows[i], columns[j]]:
            yield tracks[rows[i]], columns[j]
