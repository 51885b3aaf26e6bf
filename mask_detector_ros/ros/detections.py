"""Between `Faces` and messages: Detection2DArray, FaceArray and LabelInfo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    Point2D,
    VisionClass,
)

from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.faces import NO_LABEL, Faces
from mask_detector_ros.msg import Face, FaceArray


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
            )
        )
    return array


def faces_from_detections(array: Detection2DArray, label_names: Sequence[str]) -> Faces:
    """The faces of a Detection2DArray as `faces_to_detections` makes it.

    A detection carries neither the detector's score nor landmarks: they become 1 and 0.
    Track ids are read where every detection has a number for an id.

    Raises:
        MaskDetectorError: a detection has a label that is not among `label_names`.
    """
    detections = array.detections
    index = {name: k for k, name in enumerate(label_names)}
    boxes = np.zeros((len(detections), 4), np.float32)
    probabilities = np.zeros((len(detections), len(index)), np.float32)
    label_ids = np.full(len(detections), NO_LABEL)
    for i, detection in enumerate(detections):
        center, half = detection.bbox.center.position, detection.bbox
        boxes[i, :2] = center.x - half.size_x / 2, center.y - half.size_y / 2
        boxes[i, 2:] = center.x + half.size_x / 2, center.y + half.size_y / 2
        for rank, result in enumerate(detection.results):
            name = result.hypothesis.class_id
            if name not in index:
                raise MaskDetectorError(
                    f"a detection is labelled {name!r}, which is not one of "
                    f"{', '.join(label_names)}; give the labels of its publisher's label_info"
                )
            probabilities[i, index[name]] = result.hypothesis.score
            if rank == 0:
                label_ids[i] = index[name]
    ids = [detection.id for detection in detections]
    return Faces(
        boxes=boxes,
        scores=np.ones(len(detections)),
        landmarks=np.zeros((len(detections), 5, 2)),
        probabilities=probabilities,
        label_names=tuple(label_names),
        label_ids=label_ids,
        track_ids=np.array(ids, np.int64) if ids and all(map(str.isdecimal, ids)) else None,
    )


def label_info(label_names: Sequence[str], header: Header) -> LabelInfo:
    """The labels of a Detection2DArray's class ids, numbered in the model's order."""
    classes = [VisionClass(class_id=k, class_name=name) for k, name in enumerate(label_names)]
    return LabelInfo(header=header, class_map=classes)


def _bounding_box(box: np.ndarray[tuple[int], np.dtype[np.float32]]) -> BoundingBox2D:
    xmin, ymin, xmax, ymax = (float(v) for v in box)
    bbox = BoundingBox2D(size_x=xmax - xmin, size_y=ymax - ymin)
    bbox.center.position.x = (xmin + xmax) / 2
    bbox.center.position.y = (ymin + ymax) / 2
    return bbox


def _track_id(faces: Faces, i: int) -> str:
    return "" if faces.track_ids is None else str(faces.track_ids[i])


def _label_order(faces: Faces, i: int) -> list[int]:
    """The indices of the labels: the face's own, then the others from the most probable."""
    own = int(faces.label_ids[i])
    if own == NO_LABEL:
        return []
    falling = np.argsort(-faces.probabilities[i], kind="stable").tolist()
    return [own, *(k for k in falling if k != own)]


def _hypothesis(name: str, probability: np.float32) -> ObjectHypothesisWithPose:
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = name
    result.hypothesis.score = float(probability)
    return result
