# SPDX-License-Identifier: Apache-2.0
"""Paint masks on the bare faces of a training photograph: worn, under the nose, on and under the
chin, over the eyes and on the forehead, with drawn cloth or the cloth of photographed masks."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mask_detector_ros.sources import read_image
from training.mask_augmentation import INCORRECTLY, WITH_MASK, WITHOUT_MASK
from training.synthetic_masks import draw_cloth, draw_straps, mask_outline, shade
from training.two_stage.photographs import Photograph

Image = NDArray[np.uint8]
Points = NDArray[np.float64]

PLACES = {
    "worn": 0.38,
    "under the nose": 0.38,
    "on the chin": 0.11,
    "under the chin": 0.07,
    "over the eyes": 0.03,
    "on the forehead": 0.03,
}
"""Where masks are painted, and how often."""

TOPS = {
    "worn": (0.36, 0.56),
    "under the nose": (0.655, 0.775),
    "on the chin": (0.83, 0.91),
    "under the chin": (0.93, 1.0),
}
"""Row of the mask's upper edge at the middle of the face, as a fraction of the box height."""

BANDS = {
    "over the eyes": ((0.2, 0.32), (0.46, 0.55)),
    "on the forehead": ((-0.06, 0.06), (0.2, 0.3)),
}
"""Rows of the upper and lower edge of a mask that does not cover the lower face."""

NOSE = 0.62
"""Usual row of the tip of the nose in boxes from hairline to chin."""

REACH = 1.15
"""Half the side of the square that is painted, in longer sides of the face."""

SMALLEST_FACE = 18
"""Longer side of the smallest face that is painted, in pixels."""

LEAST_VISIBLE = 0.05
"""Least area of a painted mask inside the image, as a fraction of the face's box."""

REAL_CLOTH_SHARE = 0.55
CLOTH_SIZE = (72, 48)
CLOTH_PART = (0.17, 0.6, 0.83, 0.95)
"""Part of a masked face's box that shows cloth alone."""
LEAST_CLOTH_FACE = 70


def collect_cloth(photographs: Iterable[Photograph], most: int, seed: int) -> NDArray[np.uint8]:
    """Cut the cloth of masks out of the training photographs' masked faces that look ahead.

    Returns:
        (N, 48, 72, 3) uint8 BGR, N at most `most`.
    """
    usable = [p for p in photographs if not p.suspect and not p.is_labels_only]
    found: list[Image] = []
    for index in np.random.default_rng(seed).permutation(len(usable)):
        photo = usable[index]
        chosen = [i for i in np.flatnonzero(photo.kinds == WITH_MASK) if _shows_cloth(photo, i)]
        if len(found) >= most:
            break
        image = read_image(photo.path) if chosen else np.zeros((0, 0, 3), np.uint8)
        limits = np.tile(image.shape[1::-1], 2)
        for i in chosen[:2]:
            size = np.tile(photo.boxes[i, 2:] - photo.boxes[i, :2], 2)
            part = np.tile(photo.boxes[i, :2], 2) + np.array(CLOTH_PART) * size
            x1, y1, x2, y2 = np.clip(part, 0, limits).astype(int)
            if (part >= 0).all() and (part <= limits).all():
                cloth = cv2.resize(image[y1:y2, x1:x2], CLOTH_SIZE, interpolation=cv2.INTER_AREA)
                found.append(np.asarray(cloth, np.uint8))
    return np.stack(found[:most]) if found else np.zeros((0, *CLOTH_SIZE[::-1], 3), np.uint8)


def _shows_cloth(photo: Photograph, index: int) -> bool:
    marks, box = photo.landmarks[index], photo.boxes[index]
    width = box[2] - box[0]
    if (box[2:] - box[:2]).min() < LEAST_CLOTH_FACE:
        return False
    if not np.isfinite(marks).all():
        return True
    apart = marks[1, 0] - marks[0, 0]
    aside = abs(marks[2, 0] - marks[:2, 0].mean())
    return bool(apart >= 0.25 * width and aside <= 0.3 * apart)


def paint_faces(
    photo: Photograph, image: Image, rng: Generator, *, share: float, cloths: NDArray[np.uint8]
) -> tuple[Image, NDArray[np.int64]]:
    """Paint masks on a share of a training photograph's bare faces.

    Args:
        photo: the boxes, kinds and landmarks.
        image: its pixels, (H, W, 3) uint8 BGR.
        rng: random generator.
        share: fraction of the bare faces that get a mask.
        cloths: see `collect_cloth`; without any all cloth is drawn.

    Returns:
        A new image, and the kinds of its boxes.
    """
    image, kinds = image.copy(), photo.kinds.astype(np.int64)
    height, width = image.shape[:2]
    for i in np.flatnonzero(kinds == WITHOUT_MASK):
        box = photo.boxes[i]
        side = float((box[2:] - box[:2]).max())
        if side < SMALLEST_FACE or rng.random() >= share:
            continue
        place = str(rng.choice(list(PLACES), p=list(PLACES.values())))
        centre = (box[:2] + box[2:]) / 2
        x1, y1 = np.clip(np.floor(centre - REACH * side), 0, [width - 1, height - 1]).astype(int)
        x2, y2 = np.clip(np.ceil(centre + REACH * side), 1, [width, height]).astype(int)
        corner = np.array([x1, y1], np.float32)
        patch = np.ascontiguousarray(image[y1:y2, x1:x2])
        marks = photo.landmarks[i] - corner
        painted = paint_face(patch, box - np.tile(corner, 2), marks, place, cloths, rng)
        if painted is not None:
            image[y1:y2, x1:x2] = painted
            kinds[i] = WITH_MASK if place == "worn" else INCORRECTLY
    return image, kinds


def paint_face(
    image: Image,
    box: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    place: str,
    cloths: NDArray[np.uint8],
    rng: Generator,
) -> Image | None:
    """Paint a mask on one bare face of a training photograph; None if it would lie outside.

    Args:
        image: (H, W, 3) uint8 BGR, the face and its surroundings.
        box: (4,) xmin, ymin, xmax, ymax of the face.
        landmarks: (5, 2) pixels; if known, the mask follows nose, mouth and the head's tilt.
        place: a key of `PLACES`.
        cloths: see `collect_cloth`.
        rng: random generator.
    """
    outline = _outline(box, landmarks, place, rng)
    inside = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(inside, [np.rint(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, shift=4)
    inside = np.clip(inside, 0, 1)
    if inside.sum() < LEAST_VISIBLE * np.prod(box[2:] - box[:2]):
        return None
    packing = image.copy()
    if place in TOPS and rng.random() < 0.6:
        draw_straps(packing, outline, box, rng)
    if len(cloths) and (place in BANDS or rng.random() < REAL_CLOTH_SHARE):
        cloth = _stretch(image, outline, cloths[rng.integers(len(cloths))], rng)
        if rng.random() < 0.4:
            y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
            light = shade(image, box, outline, (x, y), rng)[..., None]
            cloth = np.clip(cloth * light, 0, 255).astype(np.float32)
    else:
        cloth = draw_cloth(image, box, outline, rng)
    if rng.random() < 0.6:
        softness = float(rng.uniform(0.005, 0.022) * (box[2] - box[0]))
        inside = np.asarray(cv2.GaussianBlur(inside, (0, 0), max(softness, 0.3)), np.float32)
    opacity = (inside * rng.uniform(0.92, 1.0))[..., None]
    painted = np.rint(packing * (1 - opacity) + cloth * opacity)
    return np.asarray(painted.clip(0, 255), np.uint8)


def _outline(
    box: NDArray[np.float32], landmarks: NDArray[np.float32], place: str, rng: Generator
) -> Points:
    """(P, 2) corners of the painted mask in pixels."""
    size = box[2:] - box[:2]
    shift, turn = _follow(box, landmarks)
    if place in BANDS:
        high, low = (rng.uniform(*rows) for rows in BANDS[place])
        outline = box[:2] + _band(high, low, rng) * size
    else:
        outline = mask_outline(box, rng.uniform(*TOPS[place]), rng)
    if place in ("under the chin", "on the forehead"):
        shift = shift * [1, 0.4]
    centre = (box[:2] + box[2:]) / 2
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.asarray((outline + shift * size - centre) @ rotation + centre, np.float64)


def _follow(box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> tuple[Points, float]:
    """How far the landmarks move a mask, in sides of the box, and turn it, in radians."""
    size = box[2:] - box[:2]
    still = np.zeros(2), 0.0
    if not np.isfinite(landmarks).all():
        return still
    marks = (landmarks - box[:2]) / size
    eyes, nose, mouth = marks[:2].mean(0), marks[2], marks[3:].mean(0)
    upright = mouth[1] > nose[1] + 0.07 and eyes[1] < nose[1] - 0.08
    if not (upright and 0.45 < nose[1] < 0.78):
        return still
    across = landmarks[1] - landmarks[0]
    known = across[0] > 0.2 * size[0]
    turn = float(np.clip(np.arctan2(across[1], across[0]), -0.5, 0.5)) if known else 0.0
    return np.array([0.7 * ((nose[0] + mouth[0]) / 2 - 0.5), nose[1] - NOSE]), turn


def _band(high: float, low: float, rng: Generator) -> Points:
    """(14, 2) corners of a mask over eyes or forehead, in sides of the box."""
    half = rng.uniform(0.38, 0.5)
    x = np.linspace(0.5 - half, 0.5 + half, 7)
    bend = rng.uniform(-0.03, 0.05) * (1 - ((x - 0.5) / half) ** 2)
    upper, lower = np.stack([x, high - bend], 1), np.stack([x, low - bend + 0.03], 1)[::-1]
    corners = np.concatenate([upper, lower])
    return np.asarray(corners + rng.normal(0, 0.01, corners.shape), np.float64)


def _stretch(
    image: Image, outline: Points, cloth: NDArray[np.uint8], rng: Generator
) -> NDArray[np.float32]:
    """(H, W, 3) float32: photographed cloth, stretched over the outline of a painted mask."""
    low, high = np.floor(outline.min(0)).astype(int), np.ceil(outline.max(0)).astype(int)
    width, height = np.maximum(high - low, 2).tolist()
    flipped = np.ascontiguousarray(cloth[:, ::-1] if rng.random() < 0.5 else cloth)
    smaller = width < cloth.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    patch = cv2.resize(flipped, (width, height), interpolation=how).astype(np.float32)
    patch = patch * rng.uniform(0.7, 1.15) * (1 + rng.normal(0, 0.04, 3))
    filled = np.full(image.shape, patch.mean((0, 1)), np.float32)
    x1, y1 = np.maximum(low, 0).tolist()
    x2, y2 = np.minimum(low + np.array([width, height]), image.shape[1::-1]).tolist()
    if x2 > x1 and y2 > y1:
        filled[y1:y2, x1:x2] = patch[y1 - low[1] : y2 - low[1], x1 - low[0] : x2 - low[0]]
    return np.asarray(np.clip(filled, 0, 255), np.float32)
