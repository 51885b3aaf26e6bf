# SPDX-License-Identifier: Apache-2.0
"""`foxglove_msgs/ImageAnnotations`: boxes, landmarks and labels for a viewer to draw."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging import annotate
from mask_detector_ros.result_messages import MakeMessage

ANNOTATIONS = "foxglove_msgs/msg/ImageAnnotations"

POINTS, LINE_LOOP = 1, 2
"""Types of a PointsAnnotation."""

FONT_SIZE = 11.0
LINE, DOT = 2.0, 4.0
"""Sizes of letters, lines and landmark dots, in pixels of a 640x480 image."""


class AnnotationMessages:
    """Makes the annotations of one image."""

    def __init__(self, make: MakeMessage) -> None:
        self._make = make
        self._colors = {
            color: self._color(color)
            for color in (*annotate.LABEL_COLORS.values(), annotate.OTHER_COLOR, annotate.WHITE)
        }
        self._clear = make("foxglove_msgs/msg/Color", r=0.0, g=0.0, b=0.0, a=0.0)

    def annotations(self, faces: Faces, header: Any, size: tuple[int, int]) -> Any:
        """Make an ImageAnnotations: a box, landmarks, and a label on a strip for each face.

        Args:
            faces: the faces in image pixels; boxes and landmarks that are not finite are left out.
            header: the image's header; the annotations use its stamp.
            size: width and height of the image.
        """
        unit = annotate.drawing_unit(*size)
        points, texts = [], []
        for i, (role, tag) in enumerate(zip(faces.roles, annotate.face_tags(faces), strict=True)):
            box, landmarks = faces.boxes[i], faces.landmarks[i]
            if not np.isfinite(box).all():
                continue
            color = self._colors[annotate.LABEL_COLORS.get(role, annotate.OTHER_COLOR)]
            corners = box[[[0, 1], [2, 1], [2, 3], [0, 3]]]
            points.append(self._points(header.stamp, LINE_LOOP, corners, color, LINE * unit))
            seen = landmarks[np.isfinite(landmarks).all(axis=1)]
            if len(seen):
                points.append(self._points(header.stamp, POINTS, seen, color, DOT * unit))
            if tag:
                texts.append(
                    self._make(
                        "foxglove_msgs/msg/TextAnnotation",
                        timestamp=header.stamp,
                        position=self._point(*box[:2].tolist()),
                        text=tag,
                        font_size=FONT_SIZE * unit,
                        text_color=self._colors[annotate.WHITE],
                        background_color=color,
                    )
                )
        return self._make(ANNOTATIONS, circles=[], points=points, texts=texts)

    def _points(
        self, stamp: Any, kind: int, points: NDArray[np.float32], color: Any, thickness: float
    ) -> Any:
        return self._make(
            "foxglove_msgs/msg/PointsAnnotation",
            timestamp=stamp,
            type=kind,
            points=[self._point(x, y) for x, y in points.tolist()],
            outline_color=color,
            outline_colors=[color] * len(points) if kind == POINTS else [],
            fill_color=self._clear,
            thickness=thickness,
        )

    def _point(self, x: float, y: float) -> Any:
        return self._make("foxglove_msgs/msg/Point2", x=x, y=y)

    def _color(self, bgr: annotate.Color) -> Any:
        b, g, r = (value / 255 for value in bgr)
        return self._make("foxglove_msgs/msg/Color", r=r, g=g, b=b, a=1.0)
