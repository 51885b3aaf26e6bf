# SPDX-License-Identifier: Apache-2.0
"""Faces: the one value that travels between detector, classifier, tracker and clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mask_detector_ros.label_roles import guess_roles

NO_LABEL = -1
"""`label_ids` of a face that no classifier has seen yet."""


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces of one image, as parallel arrays (N faces, K labels).

    Attributes:
        boxes: (N, 4) float32, xmin, ymin, xmax, ymax in pixels of the source image.
        scores: (N,) float32, the detector's confidence that this is a face, 0 to 1.
        landmarks: (N, 5, 2) float32, x and y in source pixels of the left eye, right eye,
            nose, left and right corner of the mouth; left and right as seen in the image.
        probabilities: (N, K) float32, one row per face; K is 0 before classification.
        label_names: the K label names, in the column order of `probabilities`.
        label_ids: (N,) int64, index into `label_names`. Defaults to the most probable label
            (a tracker passes smoothed ids), or `NO_LABEL` where K is 0.
        label_roles: the meaning of each of the K labels, one of `label_roles.ROLES` or empty.
            Derived from the names unless given.
        track_ids: (N,) int64, or None without tracking.
        track_ages: (N,) float64, seconds since each track was first seen, or None without
            tracking.

    Raises:
        ValueError: the arrays do not fit together.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    probabilities: NDArray[np.float32] = None  # type: ignore[assignment]
    label_names: tuple[str, ...] = ()
    label_ids: NDArray[np.int64] = None  # type: ignore[assignment]
    track_ids: NDArray[np.int64] | None = None
    track_ages: NDArray[np.float64] | None = None
    label_roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, k = len(self.boxes), len(self.label_names)
        if self.probabilities is None:
            object.__setattr__(self, "probabilities", np.zeros((n, k), np.float32))
        self._coerce("boxes", np.float32, (n, 4))
        self._coerce("scores", np.float32, (n,))
        self._coerce("landmarks", np.float32, (n, 5, 2))
        self._coerce("probabilities", np.float32, (n, k))
        object.__setattr__(self, "label_names", tuple(self.label_names))
        roles = tuple(self.label_roles) or guess_roles(self.label_names)
        if len(roles) != k:
            raise ValueError(f"Faces.label_roles must be {k}, one for each label, got {roles}")
        object.__setattr__(self, "label_roles", roles)
        if self.label_ids is None:
            best = self.probabilities.argmax(axis=1) if k else np.full(n, NO_LABEL)
            object.__setattr__(self, "label_ids", best)
        self._coerce("label_ids", np.int64, (n,))
        if n and (self.label_ids.max() >= k or self.label_ids.min() < NO_LABEL):
            raise ValueError(f"label_ids must index the {k} label_names, got {self.label_ids}")
        if self.track_ids is not None:
            self._coerce("track_ids", np.int64, (n,))
        if self.track_ages is not None:
            self._coerce("track_ages", np.float64, (n,))

    def _coerce(self, name: str, dtype: type, shape: tuple[int, ...]) -> None:
        array: NDArray[Any] = np.asarray(getattr(self, name), dtype)
        if array.size == 0 and 0 in shape:
            array = array.reshape(shape)
        if array.shape != shape:
            raise ValueError(f"Faces.{name} must have shape {shape}, got {array.shape}")
        object.__setattr__(self, name, array)

    @classmethod
    def empty(cls, label_names: Sequence[str] = (), label_roles: Sequence[str] = ()) -> Faces:
        """Faces of an image without any, with arrays of the right shapes."""
        return cls(
            np.empty((0, 4), np.float32),
            np.empty(0, np.float32),
            np.empty((0, 5, 2), np.float32),
            label_names=tuple(label_names),
            label_roles=tuple(label_roles),
        )

    @classmethod
    def known(cls, boxes: NDArray[np.generic]) -> Faces:
        """Make Faces that are known to be in (N, 4) boxes: scores of 1, landmarks of 0."""
        n = len(boxes)
        landmarks = np.zeros((n, 5, 2), np.float32)
        return cls(boxes.astype(np.float32), np.ones(n, np.float32), landmarks)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: slice | ArrayLike) -> Faces:
        """Select faces by slice, integer array or boolean mask."""
        rows: Any = index
        if not isinstance(index, slice):
            rows = np.atleast_1d(np.asarray(index))
            # NumPy turns an empty list into an array of floats.
            rows = rows.astype(np.intp) if rows.size == 0 else rows
        return replace(
            self,
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            landmarks=self.landmarks[rows],
            probabilities=self.probabilities[rows],
            label_ids=self.label_ids[rows],
            track_ids=None if self.track_ids is None else self.track_ids[rows],
            track_ages=None if self.track_ages is None else self.track_ages[rows],
        )

    def with_probabilities(
        self,
        probabilities: NDArray[np.float32],
        label_names: Sequence[str],
        label_roles: Sequence[str] = (),
    ) -> Faces:
        """Return the same Faces with the labels of a classifier's (N, K) probabilities."""
        return replace(
            self,
            probabilities=probabilities,
            label_names=tuple(label_names),
            label_roles=tuple(label_roles),
            label_ids=None,  # type: ignore[arg-type]
        )

    @property
    def labels(self) -> list[str]:
        """The label name of each of the Faces; an empty string where there is none."""
        return [self.label_names[i] if i != NO_LABEL else "" for i in self.label_ids]

    @property
    def roles(self) -> list[str]:
        """The role of the label of each of the Faces; an empty string where there is none."""
        return [self.label_roles[i] if i != NO_LABEL else "" for i in self.label_ids]

    @property
    def label_probabilities(self) -> NDArray[np.float32]:
        """(N,) the probability of the label of each of the Faces; 0 where there is none."""
        if not self.label_names:
            return np.zeros(len(self), np.float32)
        own: NDArray[np.float32] = self.probabilities[np.arange(len(self)), self.label_ids]
        return np.where(self.label_ids == NO_LABEL, np.float32(0), own)

    def count_labels(self) -> dict[str, int]:
        """Count the Faces of each label, zero counts included, in label order."""
        labels = self.labels
        return {name: labels.count(name) for name in self.label_names}

    def to_records(self) -> list[dict[str, Any]]:
        """Convert the Faces to one JSON-ready dictionary each; see `face_record`."""
        return [
            face_record(
                self.boxes[i].tolist(),
                label=label,
                probabilities=dict(
                    zip(self.label_names, self.probabilities[i].tolist(), strict=True)
                ),
                track_id=None if self.track_ids is None else int(self.track_ids[i]),
                score=float(self.scores[i]),
                landmarks=self.landmarks[i].tolist(),
            )
            for i, label in enumerate(self.labels)
        ]


def face_record(
    box: Sequence[float],
    *,
    label: str,
    probabilities: Mapping[str, float],
    track_id: int | None = None,
    score: float | None = None,
    landmarks: Sequence[Sequence[float]] | None = None,
) -> dict[str, Any]:
    """Describe one of the Faces as a JSON-ready dictionary, shared by commands, recorder and demo.

    `box` is xmin, ymin, xmax, ymax in source pixels; `label` is an empty string without a label;
    `probabilities` has one number per label. `track_id` is missing without tracking. Fields
    that the source lacks, such as the landmarks of a Detection2D, are missing too.
    """
    record: dict[str, Any] = {"box": [round(v, 2) for v in box]}
    if score is not None:
        record["score"] = round(score, 4)
    if landmarks is not None:
        record["landmarks"] = [[round(v, 2) for v in point] for point in landmarks]
    record["label"] = label
    record["probabilities"] = {name: round(p, 4) for name, p in probabilities.items()}
    if track_id is not None:
        record["track_id"] = track_id
    return record
