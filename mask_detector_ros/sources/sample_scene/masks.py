# SPDX-License-Identifier: Apache-2.0
"""Draw face masks onto a portrait, along its jaw and nose."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.sources.sample_scene.portraits import Points, Portrait

Floats = NDArray[np.float32]
_BITS = 4  # fractional bits of the coordinates given to OpenCV's drawing functions


@dataclass(frozen=True)
class Mask:
    """What a mask looks like and how it is worn.

    Attributes:
        cut: pleated (surgical), folded (KN95: a seam down the middle) or plain (cloth).
        colour: colour of the fabric, BGR, 0 to 255.
        dots: colour of a pattern of dots, BGR; None for plain fabric.
        nose_out: worn below the nose, hence incorrectly.
    """

    cut: Literal["pleated", "folded", "plain"]
    colour: tuple[int, int, int]
    dots: tuple[int, int, int] | None = None
    nose_out: bool = False


def draw_mask(image: NDArray[np.uint8], portrait: Portrait, mask: Mask) -> NDArray[np.uint8]:
    """Draw a mask on a copy of a portrait, (H, W, 3) BGR."""
    upper = portrait.under_nose if mask.nose_out else portrait.over_nose
    size = portrait.face_height
    edge = smooth_curve((*upper, *portrait.jaw[::-1]))
    cover = fill(image.shape[:2], edge, feather=0.008 * size)
    across, down = _fabric_coordinates(image.shape[:2], upper, portrait.jaw)
    light = _skin_light(image, cover, blur=0.07 * size) * _relief(mask, across, down)
    fabric = _fabric(mask, across, down) * light[..., None]

    shadow = cv2.GaussianBlur(cover, (0, 0), 0.025 * size)
    out = image * (1 - 0.4 * shadow)[..., None]
    loops = _ear_loops(image.shape[:2], portrait, upper)
    out += (0.9 * np.asarray(mask.colour, np.float32) - out) * loops[..., None]
    out += (fabric - out) * cover[..., None]
    return np.clip(out, 0, 255).astype(np.uint8)


def smooth_curve(points: Points) -> Floats:
    """Smooth the outline of a mask: the closed polygon with its corners cut (Chaikin 1974), (N, 2)
    float32."""
    curve = np.asarray(points, np.float32)
    for _ in range(2):
        following = np.roll(curve, -1, axis=0)
        pairs = [0.75 * curve + 0.25 * following, 0.25 * curve + 0.75 * following]
        curve = np.stack(pairs, axis=1).reshape(-1, 2)
    return curve


def fill(shape: tuple[int, ...], polygon: Floats, feather: float) -> Floats:
    """Fill the outline of a mask: (H, W) coverage of a polygon, 0 to 1, with edges softened over
    `feather` pixels."""
    canvas = np.zeros(shape, np.uint8)
    fixed_point = np.round(polygon * (1 << _BITS)).astype(np.int32)
    cv2.fillPoly(canvas, [fixed_point], 255, cv2.LINE_AA, _BITS)
    soft = cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), max(feather, 0.3))
    return np.asarray(soft, np.float32)


def _fabric_coordinates(
    shape: tuple[int, ...], upper: Points, jaw: Points
) -> tuple[Floats, Floats]:
    """(H, W) positions on the mask: -1 to 1 across, 0 to 1 from upper to lower edge."""
    x = np.arange(shape[1], dtype=np.float32)
    top = np.interp(x, *np.transpose(upper))
    bottom = np.interp(x, *np.transpose(jaw))
    left, right = jaw[0][0], jaw[-1][0]
    across = np.broadcast_to((2 * x - left - right) / (right - left), shape)
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    down = (rows - top) / np.maximum(bottom - top, 1)
    return across.astype(np.float32), down.astype(np.float32)


def _skin_light(image: NDArray[np.uint8], cover: Floats, blur: float) -> Floats:
    """The photograph's illumination of the area that the mask covers, about 1."""
    # Blurred far enough that mouth and teeth do not shine through.
    brightness = cv2.GaussianBlur(image.max(axis=2).astype(np.float32), (0, 0), blur)
    mean = float((brightness * cover).sum() / cover.sum())
    return np.asarray(np.clip(np.sqrt(brightness / mean), 0.7, 1.15), np.float32)


def _relief(mask: Mask, across: Floats, down: Floats) -> Floats:
    """The shading that follows from the mask's shape, about 1."""

    def ridge(distance: Floats, width: float) -> Floats:
        return np.asarray(np.exp(-((distance / width) ** 2)), np.float32)

    relief = 1.04 - 0.26 * np.abs(across) ** 2.5 - 0.14 * np.clip(down, 0, 1) ** 2
    if not mask.nose_out:
        relief += 0.07 * ridge(across, 0.2) * ridge(down - 0.3, 0.3)
    relief -= 0.13 * ridge(down - 0.05, 0.025) + 0.1 * ridge(down - 0.94, 0.03)
    if mask.cut == "pleated":
        for fold in (0.3, 0.52, 0.73):
            relief += 0.06 * ridge(down - fold + 0.05, 0.045) - 0.17 * ridge(down - fold, 0.022)
    elif mask.cut == "folded":
        relief += 0.07 * np.tanh(6 * across) - 0.14 * ridge(across, 0.025)
        relief -= 0.08 * ridge(np.abs(across) - 0.85 + 0.1 * down, 0.025)
    else:
        relief += 0.04 * np.sin(9 * across + 5 * down) - 0.06 * ridge(across, 0.03)
    return relief.astype(np.float32)


def _fabric(mask: Mask, across: Floats, down: Floats) -> Floats:
    """(H, W, 3) colour of the fabric before shading."""
    weave = np.random.default_rng(7).normal(1, 0.025, (*across.shape, 1)).astype(np.float32)
    fabric = np.asarray(mask.colour, np.float32) * weave
    if mask.dots is not None:
        row = np.floor(down * 6)
        beside = (across * 6 + 0.5 * (row % 2)) % 1 - 0.5
        below = (down * 6) % 1 - 0.5
        dot = np.clip((0.3 - np.hypot(beside, below)) * 10, 0, 1)[..., None]
        fabric += (np.asarray(mask.dots, np.float32) - fabric) * dot
    return fabric.astype(np.float32)


def _ear_loops(shape: tuple[int, ...], portrait: Portrait, upper: Points) -> Floats:
    """(H, W) coverage of the four ends of the ear loops, 0 to 1."""
    canvas = np.zeros(shape, np.uint8)
    corners = (upper[0], portrait.jaw[0], upper[-1], portrait.jaw[-1])
    for corner, ear in zip(corners, portrait.ears, strict=True):
        ends = np.round(np.array((corner, ear)) * (1 << _BITS)).astype(int)
        thickness = max(1, round(0.018 * portrait.face_height))
        cv2.line(canvas, ends[0].tolist(), ends[1].tolist(), 255, thickness, cv2.LINE_AA, _BITS)
    return np.asarray(canvas / np.float32(255))
