# SPDX-License-Identifier: Apache-2.0
"""Paint masks on bare faces, for more variety of cloth than the photographs have."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Box = NDArray[np.float32]
Points = NDArray[np.float64]

COMMON_COLORS = (
    (245, 245, 245),
    (225, 205, 165),
    (215, 190, 120),
    (35, 30, 30),
    (70, 45, 30),
    (120, 120, 120),
    (190, 170, 230),
)
"""Cloth colours in BGR: white, two surgical blues, black, navy, grey, pink."""

WORN_TOP = (0.36, 0.51)
BELOW_NOSE_TOP = (0.67, 0.77)
ON_CHIN_TOP = (0.83, 0.90)
"""Row of the mask's upper edge at the middle of the face, as a fraction of the box height. In boxes
from hairline to chin the tip of the nose is at about 0.62 and the mouth at 0.80."""


def paint_mask(image: Image, box: Box, rng: Generator, *, incorrectly: bool = False) -> Image:
    """Paint a synthetic mask on a bare, roughly upright face.

    Args:
        image: (H, W, 3) uint8 BGR.
        box: (4,) xmin, ymin, xmax, ymax of the face.
        rng: random generator for shape, colour, pattern and shading.
        incorrectly: leave the nose, or nose and mouth, bare.

    Returns:
        A new image.
    """
    top_range = WORN_TOP
    if incorrectly:
        top_range = BELOW_NOSE_TOP if rng.random() < 0.65 else ON_CHIN_TOP
    outline = mask_outline(box, rng.uniform(*top_range), rng)
    inside = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(inside, [np.rint(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, shift=4)
    inside = np.clip(inside, 0, 1)
    packing = image.copy()
    if rng.random() < 0.6:
        draw_straps(packing, outline, box, rng)
    cloth = draw_cloth(image, box, outline, rng)
    if rng.random() < 0.5:
        softness = float(rng.uniform(0.005, 0.02) * (box[2] - box[0]))
        inside = np.asarray(cv2.GaussianBlur(inside, (0, 0), max(softness, 0.3)), np.float32)
    opacity = (inside * rng.uniform(0.9, 1.0))[..., None]
    painted = packing * (1 - opacity) + cloth * opacity
    return np.asarray(np.rint(painted), np.uint8)


def mask_outline(box: Box, top: float, rng: Generator) -> Points:
    """(P, 2) corners in pixels, clockwise from the upper edge's left end."""
    middle = 0.5 + rng.normal(0, 0.05)
    half = rng.uniform(0.36, 0.52)
    bottom = max(rng.uniform(0.96, 1.10), top + 0.14)
    corner = min(top + rng.uniform(0.0, 0.10), bottom - 0.1)
    jaw = corner + rng.uniform(0.45, 0.75) * (bottom - corner)
    jaw_half, chin_half = half * rng.uniform(0.75, 1.0), half * rng.uniform(0.25, 0.6)
    relative = np.array(
        [
            (middle - half, corner),
            (middle - half * 0.45, (top + corner) / 2),
            (middle, top),
            (middle + half * 0.45, (top + corner) / 2),
            (middle + half, corner),
            (middle + jaw_half, jaw),
            (middle + chin_half, bottom),
            (middle - chin_half, bottom),
            (middle - jaw_half, jaw),
        ]
    )
    relative += rng.normal(0, 0.012, relative.shape)
    return np.asarray(box[:2] + relative * (box[2:] - box[:2]), np.float64)


def draw_straps(packing: Image, outline: Points, box: Box, rng: Generator) -> None:
    width = float(box[2] - box[0])
    ear_y = box[1] + rng.uniform(0.3, 0.5) * (box[3] - box[1])
    color = tuple(rng.integers(0, 256, 3).tolist()) if rng.random() < 0.3 else (235, 235, 235)
    thickness = max(1, round(width * 0.02))
    for corners, ear_x in (((0, 8), box[0]), ((4, 5), box[2])):
        for corner in corners:
            start = tuple(np.rint(outline[corner]).astype(int).tolist())
            cv2.line(packing, start, (round(ear_x), round(ear_y)), color, thickness, cv2.LINE_AA)


def draw_cloth(image: Image, box: Box, outline: Points, rng: Generator) -> NDArray[np.float32]:
    """(H, W, 3) float32: colour, pattern and shading of the cloth over the whole image."""
    height, width = image.shape[:2]
    if rng.random() < 0.65:
        color = np.array(COMMON_COLORS[rng.integers(len(COMMON_COLORS))], np.float32)
        color += rng.normal(0, 12, 3).astype(np.float32)
    else:
        color = rng.uniform(10, 250, 3).astype(np.float32)
    cloth = np.full((height, width, 3), color, np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    size = float(box[3] - box[1])
    pattern = rng.choice(
        ["plain", "pleats", "stripes", "checks", "dots"], p=[0.3, 0.25, 0.15, 0.15, 0.15]
    )
    period = size * rng.uniform(0.05, 0.14)
    if pattern == "pleats":
        cloth *= 1 - 0.14 * (np.mod(y - box[1], period) < period * 0.25)[..., None]
    elif pattern != "plain":
        other = rng.uniform(10, 250, 3).astype(np.float32)
        angle = rng.uniform(0, np.pi)
        u = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
        v = np.sin(2 * np.pi * (y * np.cos(angle) - x * np.sin(angle)) / period)
        where = {"stripes": u > 0, "checks": u * v > 0, "dots": u + v > 1.1}[str(pattern)]
        cloth[where] = other
    if rng.random() < 0.7:
        cloth *= shade(image, box, outline, (x, y), rng)[..., None]
    return np.asarray(np.clip(cloth, 0, 255), np.float32)


def shade(
    image: Image,
    box: Box,
    outline: Points,
    grid: tuple[NDArray[np.float32], NDArray[np.float32]],
    rng: Generator,
) -> NDArray[np.float32]:
    """(H, W) shading factors: the light on the face, and the curve of the cloth."""
    size = float(box[3] - box[1])
    gray = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (0, 0), max(size * 0.08, 0.8))
    light = np.clip(gray / max(float(gray.mean()), 1.0), 0.4, 1.5).astype(np.float32)
    centre, reach = outline.mean(axis=0), float(np.ptp(outline[:, 0])) / 2
    away = np.abs(grid[0] - centre[0]) / max(reach, 1.0)
    curve = 1 - rng.uniform(0, 0.35) * np.square(np.clip(away, 0, 1.2))
    return np.asarray(light ** rng.uniform(0.2, 0.9) * curve, np.float32)
