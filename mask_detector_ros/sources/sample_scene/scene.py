# SPDX-License-Identifier: Apache-2.0
"""SampleScene: combines people, hall and camera."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import box_area, intersection
from mask_detector_ros.sources.sample_scene.hall import draw_hall
from mask_detector_ros.sources.sample_scene.people import (
    LABEL_NAMES,
    PEOPLE,
    RATE_HZ,
    SCENE_HEIGHT,
    SCENE_WIDTH,
    Person,
)
from mask_detector_ros.sources.sample_scene.sprites import Sprite, choose_sprite, draw_sprites

MIN_VISIBLE = 0.7
"""Faces with a smaller visible fraction of their box are left out of the ground truth."""

_SMALLEST, _LARGEST = 64, 8192  # limits of a frame side, pixels
_NOISE_SIGMA = 2.5  # noise of the simulated sensor, grey levels
_NOISE_MEAN = 16  # keeps the noise unsigned for speed; subtracted again after adding
_NOISE_SHIFTS = 64


class SampleScene:
    """The sample scene: a rendered hall with moving masked and bare faces of several sizes, with
    ground truth.

    Args:
        width, height: size of the frame in pixels, 64 to 8192. The scene is laid out
            for 640x480, where faces are 24 to 130 pixels high, and scales with the size.

    Raises:
        ParameterError: the size is out of range.
        SourceError: a portrait of the scene is not installed.
    """

    def __init__(
        self,
        width: int = SCENE_WIDTH,
        height: int = SCENE_HEIGHT,
        people: Sequence[Person] = PEOPLE,
    ) -> None:
        for name, value in (("width", width), ("height", height)):
            if not _SMALLEST <= value <= _LARGEST:
                raise ParameterError(
                    f"{name} of the sample scene must be {_SMALLEST} to {_LARGEST}, got {value}"
                )
        self.width, self.height = width, height
        self._scale = min(width / SCENE_WIDTH, height / SCENE_HEIGHT)
        self._hall = draw_hall(width, height)
        noise_shape = (height + _NOISE_SHIFTS, width + _NOISE_SHIFTS, 3)
        noise = np.random.default_rng(11).normal(_NOISE_MEAN, _NOISE_SIGMA, noise_shape)
        self._noise = np.clip(noise.round(), 0, 255).astype(np.uint8)
        self._people = [(person, self._sprites(person)) for person in people]

    def _sprites(self, person: Person) -> list[Sprite]:
        largest = self._scale * (person.size.mean + person.size.amplitude)
        return draw_sprites(person, largest / person.portrait.face_height)

    def render(self, index: int) -> tuple[NDArray[np.uint8], Faces]:
        """Render a frame of the sample scene and its ground truth.

        Args:
            index: frame number at `RATE_HZ`. The same index always gives the same frame, in
                any order; the scene never ends.

        Returns:
            The frame, (height, width, 3) uint8 BGR, and its faces. Boxes enclose the face
            ovals from hairline to chin, clipped to the frame. Some landmarks may lie outside
            if a face is partly out of view. The true label has probability 1, scores are 1,
            and track ids number the people. Faces of which less than 70 % is visible
            (out of view or occluded) are left out.
        """
        seconds = index / RATE_HZ
        frame = self._hall.copy()
        # Nearer people occlude farther ones.
        for person, sprites in sorted(self._people, key=lambda each: each[0].size.at(seconds)):
            _set_in(frame, sprites, person.pose(seconds, self.width, self.height))
        return self._expose(frame, index), self.ground_truth(index)

    def ground_truth(self, index: int) -> Faces:
        """The faces in frame `index` of the sample scene, as `render` returns them, without
        rendering."""
        seconds = index / RATE_HZ
        people = [person for person, _ in self._people]
        poses = [person.pose(seconds, self.width, self.height) for person in people]
        ovals = np.reshape([_oval_box(*each) for each in zip(people, poses, strict=True)], (-1, 4))
        boxes = np.clip(ovals, 0, (self.width, self.height) * 2)
        sizes = np.array([person.size.at(seconds) for person in people])
        covers = np.where(sizes > sizes[:, None], intersection(boxes, ovals), 0)
        visible = box_area(boxes) - covers.max(axis=1, initial=0)
        numbers = np.flatnonzero(visible >= MIN_VISIBLE * box_area(ovals))
        label_ids = [LABEL_NAMES.index(people[number].label) for number in numbers]
        return Faces(
            boxes=boxes[numbers],
            scores=np.ones(len(numbers), np.float32),
            landmarks=np.array([_landmarks(people[number], poses[number]) for number in numbers]),
            probabilities=np.eye(len(LABEL_NAMES), dtype=np.float32)[label_ids],
            label_names=LABEL_NAMES,
            track_ids=numbers,
        )

    def _expose(self, frame: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Simulate a camera: slowly varying exposure, and noise."""
        exposure = 1 + 0.07 * math.sin(2 * math.pi * index / RATE_HZ / 13)
        x, y = np.random.default_rng(abs(index)).integers(_NOISE_SHIFTS, size=2)
        noise = self._noise[y : y + self.height, x : x + self.width]
        exposed = cv2.addWeighted(frame, exposure, noise, 1, -_NOISE_MEAN)
        return np.asarray(exposed, np.uint8)


def _set_in(frame: NDArray[np.uint8], sprites: list[Sprite], pose: NDArray[np.float64]) -> None:
    """Blend a sprite into the frame, touching only the rectangle it covers."""
    scale = math.sqrt(abs(float(np.linalg.det(pose[:, :2]))))
    sprite = choose_sprite(sprites, scale)
    factor = sprite.reduction
    height, width = sprite.pixels.shape[:2]
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) * factor
    placed = corners @ pose[:, :2].T + pose[:, 2]
    limit = (frame.shape[1], frame.shape[0])
    left, top = np.clip(np.floor(placed.min(axis=0)) - 2, 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(placed.max(axis=0)) + 2, 0, limit).astype(int)
    if left >= right or top >= bottom:
        return
    # Pixel k of a sprite is centred at factor * k + (factor - 1) / 2 in the portrait.
    offset = pose[:, :2] @ np.full(2, (factor - 1) / 2) + pose[:, 2] - (left, top)
    to_region = np.column_stack([pose[:, :2] * factor, offset])
    layer = cv2.warpAffine(sprite.pixels, to_region, (right - left, bottom - top))
    region = frame[top:bottom, left:right]
    see_through = cv2.cvtColor(255 - layer[..., 3], cv2.COLOR_GRAY2BGR)
    cv2.multiply(region, see_through, dst=see_through, scale=1 / 255)
    region[:] = cv2.add(see_through, cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR))


def _oval_box(person: Person, pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,) xyxy box around the face oval after the affine transform."""
    centre = pose[:, :2] @ person.portrait.centre + pose[:, 2]
    reach = np.hypot(*(pose[:, :2] * person.portrait.half_size).T)
    return np.concatenate([centre - reach, centre + reach])


def _landmarks(person: Person, pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """(5, 2) landmarks after the affine transform; left and right as seen in the frame."""
    points = np.asarray(person.portrait.landmarks) @ pose[:, :2].T + pose[:, 2]
    return np.asarray(points[[1, 0, 2, 4, 3]] if person.mirrored else points)
