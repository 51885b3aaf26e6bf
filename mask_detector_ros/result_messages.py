# SPDX-License-Identifier: Apache-2.0
"""Build the result messages of an image, for the node and for bags.

The node fills ROS classes, a bag those of `rosbags`. Both get the field values here, so that
recorded detections equal published ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import NO_LABEL, Faces
from mask_detector_ros.positions import Positions

LATENCY_PARTS = ("transport", "wait", "conversion", "inference", "publish")
"""Parts of a MaskSummary's latency, in order: from the stamp to the node's callback; until the
detector is free; from message to array; detection, labels and tracking; making and publishing the
detections."""

DETECTIONS = "vision_msgs/msg/Detection2DArray"
DETECTIONS_3D = "vision_msgs/msg/Detection3DArray"
FACES = "mask_detector_ros/msg/FaceArray"
SUMMARY = "mask_detector_ros/msg/MaskSummary"
ALERT = "mask_detector_ros/msg/MaskAlert"
LABEL_INFO = "vision_msgs/msg/LabelInfo"

UNKNOWN_ANGLE = np.pi
"""Standard deviation of an unknown orientation, in radians."""

MAX_DURATION_SECONDS = 2**31 - 1


class MakeMessage(Protocol):
    """Makes a message of a type, such as `std_msgs/msg/Header`, with all its fields given."""

    def __call__(self, kind: str, /, **fields: Any) -> Any: ...


class ResultMessages:
    """Makes the messages about one image.

    Args:
        make: makes a message. It must accept NumPy arrays for numeric arrays.
    """

    def __init__(self, make: MakeMessage) -> None:
        self._make = make
        # Detections have no pose. All share this one: making one each would take a quarter of
        # the time for the whole array.
        self._no_pose = make(
            "geometry_msgs/msg/PoseWithCovariance",
            pose=self._pose(0.0, 0.0, 0.0),
            covariance=np.zeros(36),
        )

    def detections(self, faces: Faces, header: Any) -> Any:
        """Make a Detection2DArray: one detection per face, boxes in source image pixels.

        `results[0]` is the face's label with its probability; the other labels follow, most
        probable first. A face without a label has no results. `id` is the track id, or empty
        without tracking.
        """
        detections = [
            self._make(
                "vision_msgs/msg/Detection2D",
                header=header,
                results=self._hypotheses(faces, i, self._no_pose),
                bbox=self._bounding_box(faces.boxes[i]),
                id=_track_id(faces, i),
            )
            for i in range(len(faces))
        ]
        return self._make(DETECTIONS, header=header, detections=detections)

    def detections_3d(self, faces: Faces, positions: Positions, header: Any) -> Any:
        """Make a Detection3DArray: the same faces in the same order, with their `positions`."""
        detections = []
        for i in range(len(faces)):
            center = self._pose(*positions.centres[i].tolist())
            covariance = np.diag([0.0, 0.0, 0.0, *3 * (UNKNOWN_ANGLE**2,)])
            covariance[:3, :3] = positions.covariances[i]
            pose = self._make(
                "geometry_msgs/msg/PoseWithCovariance", pose=center, covariance=covariance.ravel()
            )
            width, height, length = positions.sizes[i].tolist()
            size = self._make("geometry_msgs/msg/Vector3", x=width, y=height, z=length)
            detections.append(
                self._make(
                    "vision_msgs/msg/Detection3D",
                    header=header,
                    results=self._hypotheses(faces, i, pose),
                    bbox=self._make("vision_msgs/msg/BoundingBox3D", center=center, size=size),
                    id=_track_id(faces, i),
                )
            )
        return self._make(DETECTIONS_3D, header=header, detections=detections)

    def faces(self, faces: Faces, header: Any) -> Any:
        """Make a FaceArray: the same faces in the same order, with the fields Detection2D lacks."""
        ages = np.zeros(len(faces)) if faces.track_ages is None else faces.track_ages
        made = [
            self._make(
                "mask_detector_ros/msg/Face",
                bbox=self._bounding_box(faces.boxes[i]),
                score=float(faces.scores[i]),
                landmarks=[self._point(x, y) for x, y in faces.landmarks[i].tolist()],
                label=label,
                probabilities=faces.probabilities[i],
                track_id=_track_id(faces, i),
                track_age=self._duration(round(1e9 * ages[i])),
            )
            for i, label in enumerate(faces.labels)
        ]
        return self._make(FACES, header=header, label_names=list(faces.label_names), faces=made)

    def summary(
        self,
        faces: Faces,
        people: Mapping[str, int],
        header: Any,
        times: Mapping[str, int] | None = None,
    ) -> Any:
        """Make a MaskSummary: counts by label, and the parts of the latency.

        Args:
            people: unique people by label; used only with tracking.
            times: nanoseconds of each of `LATENCY_PARTS`; a missing part is 0.
        """
        times = times or {}
        counts = faces.count_labels()
        unique = [] if faces.track_ids is None else [people[name] for name in counts]
        return self._make(
            SUMMARY,
            header=header,
            label_names=list(counts),
            counts=np.array(list(counts.values()), np.uint32),
            unique_people=np.array(unique, np.uint32),
            latency=self._duration(sum(times.values())),
            **{part: self._duration(times.get(part, 0)) for part in LATENCY_PARTS},
        )

    def alert(self, faces: Faces, i: int, seconds: float, header: Any) -> Any:
        """Make a MaskAlert message about face `i`, whose label has lasted the given seconds."""
        return self._make(
            ALERT,
            header=header,
            track_id=_track_id(faces, i),
            label=faces.labels[i],
            duration=self._duration(round(1e9 * seconds)),
            bbox=self._bounding_box(faces.boxes[i]),
        )

    def label_info(self, label_names: Sequence[str], header: Any) -> Any:
        """Make a LabelInfo message: the labels, numbered in the model's order."""
        classes = [
            self._make("vision_msgs/msg/VisionClass", class_id=k, class_name=name)
            for k, name in enumerate(label_names)
        ]
        return self._make(LABEL_INFO, header=header, class_map=classes, threshold=0.0)

    def _point(self, x: float, y: float) -> Any:
        return self._make("vision_msgs/msg/Point2D", x=x, y=y)

    def _bounding_box(self, box: NDArray[np.float32]) -> Any:
        xmin, ymin, xmax, ymax = box.tolist()
        position = self._point((xmin + xmax) / 2, (ymin + ymax) / 2)
        return self._make(
            "vision_msgs/msg/BoundingBox2D",
            center=self._make("vision_msgs/msg/Pose2D", position=position, theta=0.0),
            size_x=xmax - xmin,
            size_y=ymax - ymin,
        )

    def _pose(self, x: float, y: float, z: float) -> Any:
        return self._make(
            "geometry_msgs/msg/Pose",
            position=self._make("geometry_msgs/msg/Point", x=x, y=y, z=z),
            orientation=self._make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        )

    def _hypotheses(self, faces: Faces, i: int, pose: Any) -> list[Any]:
        return [
            self._make(
                "vision_msgs/msg/ObjectHypothesisWithPose",
                hypothesis=self._make(
                    "vision_msgs/msg/ObjectHypothesis",
                    class_id=faces.label_names[k],
                    score=float(faces.probabilities[i, k]),
                ),
                pose=pose,
            )
            for k in _label_order(faces, i)
        ]

    def _duration(self, nanoseconds: int) -> Any:
        """The nearest Duration: stamps of two clocks may differ by more than its range."""
        seconds, rest = divmod(nanoseconds, 10**9)
        seconds = max(-MAX_DURATION_SECONDS, min(seconds, MAX_DURATION_SECONDS))
        return self._make("builtin_interfaces/msg/Duration", sec=seconds, nanosec=rest)


def _track_id(faces: Faces, i: int) -> str:
    return "" if faces.track_ids is None else str(faces.track_ids[i])


def _label_order(faces: Faces, i: int) -> list[int]:
    """Label indices: the face's label, then the others, most probable first."""
    own = int(faces.label_ids[i])
    if own == NO_LABEL:
        return []
    falling = np.argsort(-faces.probabilities[i], kind="stable").tolist()
    return [own, *(k for k in falling if k != own)]
