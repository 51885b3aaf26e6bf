# SPDX-License-Identifier: Apache-2.0
"""The drawn hall that the people of the sample scene walk through. It contains no face."""

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SKIRTING = 0.42
"""Row where wall and floor meet, in frame heights."""
_HORIZON = -0.07
"""Row of the horizon, above the frame because the camera points down; matches `Person.pose`."""


def draw_hall(width: int, height: int) -> NDArray[np.uint8]:
    """Draw the empty hall of the sample scene, (height, width, 3) uint8 BGR."""
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    wall, floor = _wall(x, y), _floor(x, y)
    image = np.where((y < _SKIRTING)[..., None], wall, floor)
    canvas = np.clip(image, 0, 255).astype(np.uint8)
    _hang_paintings(canvas)
    texture = _cloudy(width, height, seed=3)
    vignette = 1 - 0.25 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    out = canvas * (vignette * (1 + 0.05 * texture))[..., None]
    # Soften the drawing as a lens would.
    return np.clip(cv2.GaussianBlur(out, (0, 0), 0.0012 * width), 0, 255).astype(np.uint8)


def _wall(x: Floats, y: Floats) -> Floats:
    """Draw plaster, lit by three lamps, above wooden panels."""
    lamps = [np.exp(-(((x - at) / 0.16) ** 2) - (y / 0.35) ** 2) for at in (0.2, 0.5, 0.8)]
    light = 0.72 + 0.3 * np.sum(lamps, axis=0)
    plaster = np.array((176, 190, 198), np.float32) * light[..., None]
    joints = np.abs((14 * x) % 1 - 0.5) > 0.48
    grain = (0.9 + 0.06 * np.sin(60 * x + 5 * np.sin(9 * y)) - 0.25 * joints) * (1.1 - 0.5 * y)
    panels = np.array((88, 116, 146), np.float32) * grain[..., None]
    wall = np.where((y > 0.3)[..., None], panels, plaster)
    rail = np.abs(y - 0.3) < 0.006
    skirting = y > _SKIRTING - 0.018
    return np.asarray(np.where((rail | skirting)[..., None], 70, wall), np.float32)


def _floor(x: Floats, y: Floats) -> Floats:
    """Draw tiles in perspective, whose contrast falls with distance, and a carpet."""
    depth = 1 / np.maximum(y - _HORIZON, 0.05)
    aside = (x - 0.5) * depth
    tile = np.tanh(6 * np.sin(7 * np.pi * aside) * np.sin(9 * np.pi * depth))
    contrast = np.clip(1.2 - depth / 2.4, 0.15, 1)
    shine = np.exp(-(((x - 0.35) / 0.2) ** 2)) * (1 - y)
    light = 0.85 + 0.07 * tile * contrast + 0.2 * shine
    stone = np.array((128, 138, 142), np.float32) * light[..., None]
    weave = 1 + 0.08 * np.sin(60 * np.pi * depth) * np.sin(90 * aside)
    carpet = np.array((62, 58, 118), np.float32) * ((0.75 + 0.3 * y) * weave)[..., None]
    on_carpet = (np.abs(aside - 0.02) < 0.2)[..., None]
    return np.asarray(np.where(on_carpet, carpet, stone), np.float32)


def _hang_paintings(canvas: NDArray[np.uint8]) -> None:
    """Draw a door, a window and two framed paintings onto the wall."""
    height, width = canvas.shape[:2]

    def box(x0: float, y0: float, x1: float, y1: float, colour: tuple[int, int, int]) -> None:
        corners = [(round(x * width), round(y * height)) for x, y in ((x0, y0), (x1, y1))]
        cv2.rectangle(canvas, corners[0], corners[1], colour, -1)

    box(0.43, 0.02, 0.57, _SKIRTING, (60, 78, 96))
    box(0.44, 0.04, 0.56, _SKIRTING, (96, 128, 156))
    for x0 in (0.452, 0.507):
        box(x0, 0.07, x0 + 0.042, 0.19, (86, 114, 140))
        box(x0, 0.22, x0 + 0.042, 0.39, (86, 114, 140))
    box(0.545, 0.22, 0.553, 0.235, (90, 200, 220))
    box(0.7, 0.015, 0.88, 0.27, (225, 228, 230))
    for row in range(12):
        shade = 235 - 5 * row
        y0 = 0.028 + row * 0.019
        box(0.708, y0, 0.872, y0 + 0.019, (shade, shade - 18, shade - 45))
    box(0.787, 0.02, 0.793, 0.26, (225, 228, 230))
    box(0.7, 0.13, 0.88, 0.139, (225, 228, 230))
    landscapes = (
        (0.05, ((205, 190, 150), (150, 170, 90), (70, 110, 60))),
        (0.25, ((120, 190, 230), (60, 130, 210), (40, 70, 160))),
    )
    for x0, stripes in landscapes:
        box(x0, 0.04, x0 + 0.13, 0.25, (48, 60, 74))
        for top, colour in zip((0.05, 0.12, 0.18), stripes, strict=True):
            box(x0 + 0.008, top, x0 + 0.122, 0.24, colour)


def _cloudy(width: int, height: int, seed: int) -> Floats:
    """(height, width) noise with detail at several scales, about -1 to 1."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for cells in (4, 16, 64):
        coarse = random.uniform(-1, 1, (cells, cells)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / 2
    return total
