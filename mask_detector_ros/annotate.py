"""Drawing faces onto an image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import Faces

Color = tuple[int, int, int]

LABEL_COLORS: dict[str, Color] = {
    "with_mask": (60, 160, 0),
    "without_mask": (40, 40, 220),
    "mask_worn_incorrectly": (0, 130, 240),
}
"""BGR: green, red and orange, all dark enough for white letters."""

OTHER_COLOR: Color = (150, 90, 90)
WHITE: Color = (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def annotate(image: NDArray[np.uint8], faces: Faces) -> NDArray[np.uint8]:
    """Draw box, landmarks, label and probability of every face.

    Args:
        image: (H, W, 3) uint8 BGR; it is left as it is.
        faces: in pixels of this image; what leaves it is cut off, what is not finite left out.

    Returns:
        A copy with the drawing.
    """
    canvas: NDArray[np.uint8] = np.array(image, order="C")
    # Letters and lines of a size that can be read at 640x480 and at 4K alike.
    unit = max(min(canvas.shape[:2]) / 480, 0.8)
    thickness = max(round(1.5 * unit), 1)
    labels, probabilities = faces.labels, faces.label_probabilities
    # So far out nothing is seen, and OpenCV's integers do not overflow.
    far = 4 * max(canvas.shape)
    for i in np.argsort(faces.boxes[:, 3]):
        if not np.isfinite(faces.boxes[i]).all():
            continue
        color = LABEL_COLORS.get(labels[i], OTHER_COLOR)
        x1, y1, x2, y2 = np.rint(faces.boxes[i].clip(-far, far)).astype(int).tolist()
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, thickness)
        points = faces.landmarks[i][np.isfinite(faces.landmarks[i]).all(axis=1)]
        for point in np.rint(points.clip(-far, far)).astype(int).tolist():
            cv2.circle(canvas, point, thickness, color, -1)
        text = f"{labels[i].replace('_', ' ')} {probabilities[i]:.0%}".strip()
        if faces.track_ids is not None:
            text = f"#{faces.track_ids[i]} {text}"
        _draw_tag(canvas, text, (x1, y1, y2), color, unit)
    return canvas


def _draw_tag(
    canvas: NDArray[np.uint8], text: str, anchor: tuple[int, int, int], color: Color, unit: float
) -> None:
    """Write white on a filled strip above the box, or below where there is no room above."""
    left, top, bottom = anchor
    scale, thickness = 0.42 * unit, max(round(unit), 1)
    (width, height), baseline = cv2.getTextSize(text, FONT, scale, thickness)
    strip = height + baseline + 2
    y1 = top - strip if top >= strip else min(bottom, canvas.shape[0] - strip)
    x1 = max(min(left, canvas.shape[1] - width - 2), 0)
    cv2.rectangle(canvas, (x1, y1), (x1 + width + 2, y1 + strip), color, -1)
    origin = (x1 + 1, y1 + height + 1)
    cv2.putText(canvas, text, origin, FONT, scale, WHITE, thickness, cv2.LINE_AA)
