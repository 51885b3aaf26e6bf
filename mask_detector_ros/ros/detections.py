"""From `Faces` to messages: Detection2DArray, FaceArray, MaskSummary, MaskAlert, LabelInfo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np
from builtin_interfaces.msg import Duration, Time
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    VisionClass,
)

from mask_detector_ros.faces import NO_LABEL, Faces
from mask_detector_ros.msg import Face, FaceArray, MaskAlert, MaskSummary

_NO_POSE = ObjectHypothesisWithPose()


def faces_to_detections(faces: Faces, header: Header) -> Detection2DArray:
    """One Detection2D a face, boxes in source pixels, `header` in the array and in each.

    `results[0]` is the face's own label with its probability; the other labels follow, the
    most probable first. A face that nobody has classified has no results. `id` is the track
    id, empty when nobody tracks.
    """
    array = Detection2DArray(header=header)
    for i in range(len(faces)):
        detection = Detection2D(
            header=header, bbox=_bounding_box(faces.boxes[i]), id=_track_id(faces, i)
        )
        detection.results = [
            _hypothesis(faces.label_names[k], faces.probabilities[i, k])
            for k in _label_order(faces, i)
        ]
        array.detections.append(detection)
    return array


def faces_to_face_array(faces: Faces, header: Header) -> FaceArray:
    """The same faces in the same order, with what a Detection2D has no room for."""
    array = FaceArray(header=header, label_names=list(faces.label_names))
    for i, label in enumerate(faces.labels):
        array.faces.append(
            Face(
                bbox=_bounding_box(faces.boxes[i]),
                score=float(faces.scores[i]),
                landmarks=[Point2D(x=float(x), y=float(y)) for x, y in faces.landmarks[i]],
                label=label,
                probabilities=faces.probabilities[i].tolist(),
                track_id=_track_id(faces, i),
                track_age=_duration(_track_age(faces, i)),
            )
        )
    return array


def faces_to_summary(
    faces: Faces, people: Mapping[str, int], header: Header, times: Mapping[str, int]
) -> MaskSummary:
    """Counts by label, and where the image's time went.

    Args:
        people: unique people by label; told only of faces that are tracked.
        times: nanoseconds of each part of the latency; see `breakdown.PARTS`.
    """
    counts = faces.count_labels()
    return MaskSummary(
        header=header,
        label_names=list(counts),
        counts=list(counts.values()),
        unique_people=[] if faces.track_ids is None else [people[name] for name in counts],
        latency=_duration(sum(times.values())),
        **{part: _duration(value) for part, value in times.items()},
    )


def face_to_alert(faces: Faces, i: int, seconds: float, header: Header) -> MaskAlert:
    """The alert about one face, whose label has stood for so many seconds."""
    return MaskAlert(
        header=header,
        track_id=_track_id(faces, i),
        label=faces.labels[i],
        duration=_duration(round(1e9 * seconds)),
        bbox=_bounding_box(faces.boxes[i]),
    )


def nanoseconds(stamp: Time) -> int:
    """A stamp as one number, which, unlike rclpy's Time, may be negative."""
    total: int = stamp.sec * 10**9 + stamp.nanosec
    return total


def label_info(label_names: Sequence[str], header: Header) -> LabelInfo:
    """The labels of a Detection2DArray's class ids, numbered in the model's order."""
    classes = [VisionClass(class_id=k, class_name=name) for k, name in enumerate(label_names)]
    return LabelInfo(header=header, class_map=classes)


def _duration(value: int) -> Duration:
    """The nearest Duration: stamps of another clock can lie further apart than it can say."""
    seconds, rest = divmod(value, 10**9)
    limit = 2**31 - 1
    return Duration(sec=max(-limit, min(seconds, limit)), nanosec=rest)


def _bounding_box(box: np.ndarray[tuple[int], np.dtype[np.float32]]) -> BoundingBox2D:
    xmin, ymin, xmax, ymax = (float(v) for v in box)
    bbox = BoundingBox2D(size_x=xmax - xmin, size_y=ymax - ymin)
    bbox.center.position.x = (xmin + xmax) / 2
    bbox.center.position.y = (ymin + ymax) / 2
    return bbox


def _track_id(faces: Faces, i: int) -> str:
    return "" if faces.track_ids is None else str(faces.track_ids[i])


def _track_age(faces: Faces, i: int) -> int:
    return 0 if faces.track_ages is None else round(1e9 * faces.track_ages[i])


def _label_order(faces: Faces, i: int) -> list[int]:
    """The indices of the labels: the face's own, then the others from the most probable."""
    own = int(faces.label_ids[i])
    if own == NO_LABEL:
        return []
    falling = np.argsort(-faces.probabilities[i], kind="stable").tolist()
    return [own, *(k for k in falling if k != own)]


def _hypothesis(name: str, probability: np.float32) -> ObjectHypothesisWithPose:
    # All share one pose: a new one each takes a quarter of the time that the whole array takes.
    result = copy(_NO_POSE)
    result.hypothesis = ObjectHypothesis(class_id=name, score=float(probability))
    return result
