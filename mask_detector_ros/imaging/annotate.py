# SPDX-License-Identifier: Apache-2.0
"""Draw faces onto an image, or hide them."""

import unicodedata

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.label_tags import FONT, place_tags

Color = tuple[int, int, int]

LABEL_COLORS: dict[str, Color] = {
    "with_mask": (60, 160, 0),
    "without_mask": (40, 40, 220),
    "mask_worn_incorrectly": (0, 130, 240),
}
"""BGR colour by label role: green, red and orange, all dark enough for white text."""

OTHER_COLOR: Color = (150, 90, 90)
WHITE: Color = (255, 255, 255)
PRIVACY = ("off", "blur", "pixelate")
LINES_OF_FACE = 30
"""Minimum face height in line widths."""

MOSAIC = 6
"""Number of squares across a face that privacy keeps: too few to recognise a person."""

HIDDEN_MARGIN, FILLED_MARGIN = 0.2, 0.35
"""Fractions by which the hidden area extends a box on each side: to cover hair and ears; and to
cover everything of the head that another detector could recognise."""


def annotate(
    image: NDArray[np.uint8],
    faces: Faces,
    privacy: str = "off",
    missed: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Draw box, landmarks, label and probability of every face on an image.

    Args:
        image: (H, W, 3) uint8 BGR; it is not changed.
        faces: the faces in image pixels; drawing is clipped to the image, and non-finite faces
            are left out.
        privacy: one of `PRIVACY`; whether and how faces are hidden.
        missed: (M, 4) further boxes to hide: tracked faces not found in this image.

    Returns:
        A copy with the drawing.
    """
    if privacy == "off":
        canvas: NDArray[np.uint8] = np.array(image, order="C")
    else:
        boxes = faces.boxes if missed is None else np.concatenate([faces.boxes, missed])
        canvas = hide_faces(image, boxes, privacy)
    # Letters and lines are readable at 640x480 and at 4K alike.
    unit = drawing_unit(canvas.shape[1], canvas.shape[0])
    thickness = max(round(1.5 * unit), 1)
    roles, tags = faces.roles, face_tags(faces)
    # Far outside the image, but within OpenCV's integer range.
    far = 4 * max(canvas.shape)
    drawn = [i for i in np.argsort(faces.boxes[:, 3]) if np.isfinite(faces.boxes[i]).all()]
    places = np.rint(faces.boxes[drawn].clip(-far, far)).astype(np.int64)
    colors = [LABEL_COLORS.get(roles[i], OTHER_COLOR) for i in drawn]
    for i, color, (x1, y1, x2, y2) in zip(drawn, colors, places.tolist(), strict=True):
        # On a small face in a large image the lines must not cover the face.
        width = min(thickness, max(round((y2 - y1) / LINES_OF_FACE), 1))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, width)
        points = faces.landmarks[i][np.isfinite(faces.landmarks[i]).all(axis=1)]
        for point in np.rint(points.clip(-far, far)).astype(int).tolist():
            cv2.circle(canvas, point, width, color, -1)
    # In a crowd show the track id or the probability; the colour shows the label.
    short = slice(1) if faces.track_ids is not None else slice(-1, None)
    texts = [(tags[i], " ".join(tags[i].split()[short])) for i in drawn]
    for tag, color in zip(place_tags(places, texts, canvas.shape[:2], unit), colors, strict=True):
        cv2.rectangle(canvas, tag.box[:2], tag.box[2:], color, -1)
        cv2.putText(
            *(canvas, tag.text, tag.origin, FONT, tag.scale, WHITE, tag.thickness, cv2.LINE_AA)
        )
    return canvas


def drawing_unit(width: int, height: int) -> float:
    """The scale of drawn letters and lines for an image, 1 at 640x480."""
    return max(min(width, height) / 480, 0.8)


def face_tags(faces: Faces) -> list[str]:
    """The texts to draw at every face: track id, label and probability in words."""
    tags = [
        f"{_drawable(label, role)} {probability:.0%}" if label else ""
        for label, role, probability in zip(
            faces.labels, faces.roles, faces.label_probabilities, strict=True
        )
    ]
    if faces.track_ids is None:
        return tags
    return [f"#{track} {tag}".strip() for track, tag in zip(faces.track_ids, tags, strict=True)]


def hide_faces(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], how: str = "fill"
) -> NDArray[np.uint8]:
    """Hide faces by blurring or pixelating them, without drawing anything.

    Args:
        image: (H, W, 3) uint8 BGR; it is not changed.
        boxes: (N, 4) xyxy image pixels; non-finite ones are ignored.
        how: blur or pixelate, which keep `MOSAIC` squares of a face, or fill, which keeps one
            colour: no other detector found a face there (docs/how-to/privacy.md).

    Returns:
        A copy.
    """
    canvas: NDArray[np.uint8] = np.array(image, order="C")
    for box in boxes:
        interpolation = cv2.INTER_CUBIC if how == "blur" else cv2.INTER_NEAREST
        fill = how == "fill"
        margin = FILLED_MARGIN if fill else HIDDEN_MARGIN
        _hide(canvas, box, margin, 1 if fill else MOSAIC, interpolation)
    return canvas


def _drawable(label: str, role: str) -> str:
    """A label in OpenCV's character set: without accents, or the name of its role."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    has_words = label.isascii() or sum(map(str.isalpha, plain)) > len(label) // 2
    return (plain if has_words else role).replace("_", " ")


def _hide(
    canvas: NDArray[np.uint8],
    box: NDArray[np.float32],
    margin: float,
    squares: int,
    interpolation: int,
) -> None:
    """Replace a box's content by a few coloured squares, or by a smooth version of them."""
    if not np.isfinite(box).all():
        return
    margins = margin * np.abs(box[2:] - box[:2])
    limit = (canvas.shape[1], canvas.shape[0])
    x1, y1 = np.clip(box[:2] - margins, 0, limit).astype(int)
    x2, y2 = np.clip(np.ceil(box[2:] + margins), 0, limit).astype(int)
    if x1 >= x2 or y1 >= y2:
        return
    face = canvas[y1:y2, x1:x2]
    few = cv2.resize(face, (squares, squares), interpolation=cv2.INTER_AREA)
    face[:] = cv2.resize(few, (x2 - x1, y2 - y1), interpolation=interpolation)
