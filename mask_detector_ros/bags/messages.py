"""The messages of a bag, written and read with the library `rosbags`, without ROS.

What they hold is what the node publishes; a test compares the two field by field.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from mask_detector_ros.errors import SourceError
from mask_detector_ros.faces import NO_LABEL, Faces
from mask_detector_ros.imaging.encodings import compressed_format, encode_compressed
from mask_detector_ros.shared_files import find_shared

INTERFACES = {
    "vision_msgs": ("underlay/vision_msgs/msg", "Detection2DArray.msg"),
    "mask_detector_ros": ("msg", "FaceArray.msg"),
}
"""Packages whose messages `rosbags` does not know: their folder, and a file in it."""

DETECTIONS = "vision_msgs/msg/Detection2DArray"
FACES = "mask_detector_ros/msg/FaceArray"
SUMMARY = "mask_detector_ros/msg/MaskSummary"
DRAWING = "sensor_msgs/msg/CompressedImage"

TIMES = ("latency", "transport", "wait", "conversion", "inference", "publish")
"""The durations of a MaskSummary."""


@cache
def message_types() -> Typestore:
    """The types of ROS 2 with those of vision_msgs and of this package.

    Raises:
        SourceError: the interface files are missing.
    """
    store = get_typestore(Stores.ROS2_HUMBLE)
    found: dict[str, Any] = {}
    for package, (name, file) in INTERFACES.items():
        folder = find_shared(name, file)
        if folder is None:
            raise SourceError(f"{file} is not installed; reinstall mask_detector_ros")
        for path in folder.glob("*.msg"):
            text = path.read_text(encoding="utf-8")
            found |= get_types_from_msg(text, f"{package}/msg/{path.stem}")
    store.register(found)
    return store


class MessageWriter:
    """Makes the serialised messages about one image after the other."""

    def __init__(self) -> None:
        self._store = message_types()

    def make(self, name: str, **fields: Any) -> Any:
        """A message of a type, such as `std_msgs/msg/Header`."""
        return self._store.types[name](**fields)

    def header(self, original: Any) -> Any:
        """The header of an image, also of ROS 1, in which it has one field more."""
        stamp = self.make(
            "builtin_interfaces/msg/Time", sec=original.stamp.sec, nanosec=original.stamp.nanosec
        )
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=original.frame_id)

    def detections(self, faces: Faces, header: Any) -> memoryview:
        """A Detection2DArray, as `ros.detections.faces_to_detections` makes it."""
        detections = [
            self.make(
                "vision_msgs/msg/Detection2D",
                header=header,
                results=self._hypotheses(faces, i),
                bbox=self._box(faces.boxes[i]),
                id=_track_id(faces, i),
            )
            for i in range(len(faces))
        ]
        message = self.make(DETECTIONS, header=header, detections=detections)
        return self._store.serialize_cdr(message, DETECTIONS)

    def faces(self, faces: Faces, header: Any) -> memoryview:
        """A FaceArray, as `ros.detections.faces_to_face_array` makes it."""
        made = [
            self.make(
                "mask_detector_ros/msg/Face",
                bbox=self._box(faces.boxes[i]),
                score=float(faces.scores[i]),
                landmarks=[self._point(*point) for point in faces.landmarks[i]],
                label=label,
                probabilities=faces.probabilities[i],
                track_id=_track_id(faces, i),
                track_age=self._duration(0.0 if faces.track_ages is None else faces.track_ages[i]),
            )
            for i, label in enumerate(faces.labels)
        ]
        message = self.make(FACES, header=header, label_names=list(faces.label_names), faces=made)
        return self._store.serialize_cdr(message, FACES)

    def summary(self, faces: Faces, people: dict[str, int], header: Any) -> memoryview:
        """A MaskSummary. Its times are 0: nobody waited for the result."""
        counts = faces.count_labels()
        unique = [] if faces.track_ids is None else [people[name] for name in counts]
        message = self.make(
            SUMMARY,
            header=header,
            label_names=list(counts),
            counts=np.array(list(counts.values()), np.uint32),
            unique_people=np.array(unique, np.uint32),
            **{name: self._duration(0.0) for name in TIMES},
        )
        return self._store.serialize_cdr(message, SUMMARY)

    def drawing(self, image: NDArray[np.uint8], header: Any) -> memoryview:
        """A CompressedImage, as `ros.conversions.image_to_compressed` makes it."""
        message = self.make(
            DRAWING,
            header=header,
            format=compressed_format("jpeg"),
            data=encode_compressed(image, "jpeg"),
        )
        return self._store.serialize_cdr(message, DRAWING)

    def _point(self, x: float, y: float) -> Any:
        return self.make("vision_msgs/msg/Point2D", x=float(x), y=float(y))

    def _box(self, box: NDArray[np.float32]) -> Any:
        xmin, ymin, xmax, ymax = (float(v) for v in box)
        position = self._point((xmin + xmax) / 2, (ymin + ymax) / 2)
        center = self.make("vision_msgs/msg/Pose2D", position=position, theta=0.0)
        return self.make(
            "vision_msgs/msg/BoundingBox2D",
            center=center,
            size_x=xmax - xmin,
            size_y=ymax - ymin,
        )

    def _hypotheses(self, faces: Faces, i: int) -> list[Any]:
        """The face's own label, then the others from the most probable."""
        own = int(faces.label_ids[i])
        if own == NO_LABEL:
            return []
        falling = np.argsort(-faces.probabilities[i], kind="stable").tolist()
        return [self._hypothesis(faces, i, k) for k in (own, *(k for k in falling if k != own))]

    def _hypothesis(self, faces: Faces, i: int, k: int) -> Any:
        position = self.make("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0)
        orientation = self.make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
        pose = self.make("geometry_msgs/msg/Pose", position=position, orientation=orientation)
        return self.make(
            "vision_msgs/msg/ObjectHypothesisWithPose",
            hypothesis=self.make(
                "vision_msgs/msg/ObjectHypothesis",
                class_id=faces.label_names[k],
                score=float(faces.probabilities[i, k]),
            ),
            pose=self.make(
                "geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)
            ),
        )

    def _duration(self, seconds: float) -> Any:
        whole, rest = divmod(round(1e9 * seconds), 10**9)
        return self.make("builtin_interfaces/msg/Duration", sec=whole, nanosec=rest)


def _track_id(faces: Faces, i: int) -> str:
    return "" if faces.track_ids is None else str(faces.track_ids[i])
