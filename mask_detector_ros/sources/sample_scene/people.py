# SPDX-License-Identifier: Apache-2.0
"""The people of the sample scene: what they wear, and where they are at a given time."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.sources.sample_scene.masks import Mask
from mask_detector_ros.sources.sample_scene.portraits import ASTRONAUT, HOPPER, Portrait

RATE_HZ = 15.0
"""Frame rate at which the people walk at a natural pace, in Hz."""

LABEL_NAMES = ("with_mask", "without_mask", "mask_worn_incorrectly")

SCENE_WIDTH, SCENE_HEIGHT = 640, 480
"""Frame size in pixels that the numbers in `PEOPLE` refer to."""


@dataclass(frozen=True)
class Wave:
    """The motion of a person: a sinusoid about `mean` with this `amplitude` and `period` in
    seconds."""

    mean: float
    amplitude: float = 0.0
    period: float = 1.0
    phase: float = 0.0

    def at(self, seconds: float) -> float:
        """The value of the motion of one of the scene's people at a time in seconds."""
        angle = 2 * math.pi * (seconds / self.period + self.phase)
        return self.mean + self.amplitude * math.sin(angle)


@dataclass(frozen=True)
class Person:
    """One person of the sample scene: a portrait, its appearance, and the path of the face.

    Attributes:
        portrait: the photograph.
        mask: the mask on the face, None for a bare face.
        x: path of the face's centre, pixels.
        size: the face's height, pixels; it grows as the person approaches.
        drop: pixels by which the face is lower than usual at its distance.
        roll: rotation in the image plane, degrees, clockwise positive.
        mirrored: the photograph is flipped.
        slim: horizontal scale; below 1 the head appears slightly turned.
        skin: gain on blue, green and red of the skin.
        clothes: tint of the clothes, BGR; black keeps their colour.
        gain: brightness of the whole person.
        blur: defocus at mean size, as a standard deviation in pixels.
    """

    portrait: Portrait
    mask: Mask | None
    x: Wave
    size: Wave
    drop: float = 0.0
    roll: Wave = Wave(0.0)
    mirrored: bool = False
    slim: float = 1.0
    skin: tuple[float, float, float] = (1.0, 1.0, 1.0)
    clothes: tuple[int, int, int] = (0, 0, 0)
    gain: float = 1.0
    blur: float = 0.0

    @property
    def label(self) -> str:
        """The label of one of the scene's people, one of `LABEL_NAMES`."""
        if self.mask is None:
            return "without_mask"
        return "mask_worn_incorrectly" if self.mask.nose_out else "with_mask"

    def pose(self, seconds: float, width: int, height: int) -> NDArray[np.float64]:
        """The pose of one of the scene's people at a time: the (2, 3) affine transform from
        portrait pixels to a frame of width x height."""
        size = self.size.at(seconds)
        # The camera points down from above: nearer people appear larger and lower.
        y = 45 + 3 * (size - 26) + self.drop + 0.03 * size * math.sin(7 * seconds)
        target = (self.x.at(seconds) * width / SCENE_WIDTH, y * height / SCENE_HEIGHT)
        picture_scale = min(width / SCENE_WIDTH, height / SCENE_HEIGHT)
        scale = picture_scale * size / self.portrait.face_height
        turn = math.radians(self.roll.at(seconds))
        rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        linear = scale * rotation @ np.diag([-self.slim if self.mirrored else self.slim, 1.0])
        offset = np.array(target) - linear @ np.array(self.portrait.centre)
        return np.column_stack([linear, offset])


_SURGICAL = (214, 186, 132)
_DEEP = (0.46, 0.5, 0.56)
_BROWN = (0.62, 0.68, 0.74)
_RUDDY = (0.86, 0.9, 1.02)
_PALE = (1.14, 1.05, 0.94)

# Three rows by distance. No head ever occludes another face: within a row each person has a
# range of x, and the rows lie one above the other in the frame.
# fmt: off
PEOPLE = (
    # Far.
    Person(ASTRONAUT, None, Wave(95, 50, 23), Wave(26, 2, 17), drop=-8,
           roll=Wave(4, 4, 5), skin=_DEEP, clothes=(120, 60, 20), gain=0.95),
    Person(HOPPER, Mask("pleated", (190, 170, 225)), Wave(215, 34, 19, 0.3), Wave(27, 3, 29),
           drop=-8, roll=Wave(-3, 5, 7), slim=0.95, clothes=(60, 110, 40)),
    Person(ASTRONAUT, Mask("plain", (58, 52, 50), nose_out=True), Wave(475, 85, 31, 0.6),
           Wave(28, 3, 21, 0.2), drop=-10, roll=Wave(-6, 3, 6), mirrored=True, skin=_BROWN,
           clothes=(90, 90, 90), gain=0.85),
    # Middle.
    Person(ASTRONAUT, Mask("plain", (60, 62, 190), dots=(230, 235, 240), nose_out=True),
           Wave(135, 72, 26, 0.55), Wave(52, 6, 18), drop=18, roll=Wave(-6, 6, 8), slim=0.95,
           mirrored=True, clothes=(10, 90, 70), gain=0.72),
    Person(HOPPER, None, Wave(470, 38, 16), Wave(50, 6, 13, 0.4), drop=18,
           roll=Wave(3, 9, 9, 0.2), mirrored=True, skin=_BROWN, clothes=(40, 40, 120), blur=0.5),
    Person(ASTRONAUT, Mask("folded", (232, 236, 238)), Wave(615, 45, 22, 0.1), Wave(50, 5, 15),
           drop=18, roll=Wave(8, 4, 6), skin=_RUDDY, clothes=(110, 20, 90), gain=0.92),
    # Near; one of them approaches from far away.
    Person(HOPPER, Mask("plain", (62, 56, 54)), Wave(315, 12, 11), Wave(67, 34, 32, 0.7),
           roll=Wave(0, 5, 5), skin=_PALE, clothes=(130, 100, 30), blur=0.9),
    Person(ASTRONAUT, None, Wave(520, 44, 27, 0.35), Wave(98, 10, 20), drop=50,
           roll=Wave(-3, 12, 12), slim=0.97),
    Person(HOPPER, Mask("pleated", _SURGICAL), Wave(110, 38, 24, 0.8), Wave(116, 11, 19, 0.5),
           drop=12, roll=Wave(-4, 7, 10), blur=0.7),
)
# fmt: on
