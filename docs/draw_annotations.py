# SPDX-License-Identifier: Apache-2.0
"""Draw the annotations of a bag over its images, as Foxglove would.

    python docs/draw_annotations.py IMAGES.mcap RESULTS.mcap OUT.jpg

IMAGES is an input bag of `mask-detector bag`, RESULTS its output. It draws the frame with the most
annotations. mcap-ros2-support reads both, independently of this package.
"""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap_ros2.reader import read_ros2_messages

from mask_detector_ros.imaging.encodings import decode_message

POINTS, LINE_LOOP = 1, 2
SHARPNESS = 2
"""Scale of the drawing: a viewer draws lines at screen resolution."""


def draw(image: np.ndarray, annotations: Any) -> np.ndarray:
    """Draw an ImageAnnotations of a bag on a copy of its image, at twice its size."""
    canvas = cv2.resize(image, None, fx=SHARPNESS, fy=SHARPNESS)
    for shape in annotations.points:
        points = np.array([(p.x, p.y) for p in shape.points]) * SHARPNESS
        color, thickness = bgr(shape.outline_color), round(shape.thickness * SHARPNESS)
        if shape.type == LINE_LOOP:
            cv2.polylines(
                canvas, [points.astype(np.int32)], True, color, max(thickness, 1), cv2.LINE_AA
            )
        elif shape.type == POINTS:
            for point in points.round().astype(int).tolist():
                cv2.circle(canvas, point, max(thickness // 2, 1), color, -1, cv2.LINE_AA)
    for text in annotations.texts:
        scale = text.font_size * SHARPNESS / 22
        (width, height), below = cv2.getTextSize(text.text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        x, y = round(text.position.x * SHARPNESS), round(text.position.y * SHARPNESS)
        corner = (x + width, y - height - below)
        cv2.rectangle(canvas, (x, y), corner, bgr(text.background_color), -1)
        cv2.putText(
            *(canvas, text.text, (x, y - below // 2), cv2.FONT_HERSHEY_SIMPLEX, scale),
            *(bgr(text.text_color), 1, cv2.LINE_AA),
        )
    return canvas


def bgr(color: Any) -> tuple[float, float, float]:
    """The colour of an annotation in OpenCV's order."""
    return (255 * color.b, 255 * color.g, 255 * color.r)


def busiest_frame(images: Path, results: Path) -> tuple[np.ndarray, Any]:
    """Find the bag's image with the most annotations, and its annotations."""
    found = [
        m.ros_msg
        for m in read_ros2_messages(str(results))
        if m.channel.topic.endswith("annotations")
    ]
    annotations = max(found, key=lambda message: len(message.texts))
    stamp = annotations.texts[0].timestamp
    for view in read_ros2_messages(str(images)):
        message = view.ros_msg
        if hasattr(message, "format") or hasattr(message, "encoding"):
            own = message.header.stamp
            if (own.sec, own.nanosec) == (stamp.sec, stamp.nanosec):
                return decode_message(message), annotations
    raise SystemExit(f"error: no image of the stamp {stamp.sec}.{stamp.nanosec:09} in {images}")


if __name__ == "__main__":
    image_bag, result_bag, out = map(Path, sys.argv[1:])
    cv2.imwrite(str(out), draw(*busiest_frame(image_bag, result_bag)))
