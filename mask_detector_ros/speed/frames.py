"""The frames that every candidate is shown: a hall with so many people, all facing the camera."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.sources.sample_scene import SampleScene
from mask_detector_ros.sources.sample_scene.people import (
    PEOPLE,
    SCENE_HEIGHT,
    SCENE_WIDTH,
    Person,
    Wave,
)
from mask_detector_ros.speed.cases import Case, Size

Image = NDArray[np.uint8]
Source = tuple[Size, int, int] | None
"""Size, people and room of composed frames; None for the user's own images."""

_FACE_IN_CELL = np.array((0.62, 0.52))
"""Height of a face as a share of the width and the height of the cell it has: heads and what
stands above them stay apart."""

_SWAY = 0.06
"""How far a face moves from the middle of its cell, as a share of the cell."""

_STEP = 37
"""Frames of the scene, 15 a second, between two that are taken."""


def people_in_rows(size: Size, faces: int, room: int) -> list[Person]:
    """People of the sample scene, in rows, each with a cell of the frame to themselves.

    Args:
        size: width and height of the frame.
        faces: how many.
        room: how many there are cells for; more room, smaller faces.
    """
    random = np.random.default_rng([*size, faces, room])
    columns = max(1, round(math.sqrt(room * size[0] / size[1])))
    rows = math.ceil(room / columns)
    # The scene is laid out for its own size and stretched to the frame's, faces are not.
    across, down = SCENE_WIDTH / columns, SCENE_HEIGHT / rows
    stretch = np.divide(size, (SCENE_WIDTH, SCENE_HEIGHT))
    height = float(min(_FACE_IN_CELL * stretch / stretch.min() * (across, down)))
    cells = np.sort(random.choice(columns * rows, faces, replace=False))
    people = []
    for cell, look in zip(cells.tolist(), random.permutation(faces).tolist(), strict=True):
        row, column = divmod(cell, columns)
        period, phase, nearer, turn = random.uniform(size=4).tolist()
        # Who stands lower is nearer: larger, and drawn over who stands behind.
        face = height * (0.9 + 0.1 * (row + nearer) / rows)
        x, y = (column + 0.5) * across, (row + 0.5) * down
        people.append(
            replace(
                PEOPLE[look % len(PEOPLE)],
                x=Wave(x, _SWAY * across, 5 + 10 * period, phase),
                size=Wave(face),
                # `Person.pose` sets a face lower the larger it is; here each has its place.
                drop=y - 45 - 3 * (face - 26),
                roll=Wave(10 * turn - 5),
                blur=0.0,
            )
        )
    return people


def compose(size: Size, faces: int, room: int, count: int) -> list[Image]:
    """`count` frames with so many faces, each (height, width, 3) uint8 BGR, always the same ones.

    Raises:
        ParameterError: the size is none that the sample scene can be drawn in.
        SourceError: a portrait the scene is drawn from is not installed.
    """
    scene = SampleScene(*size, people_in_rows(size, faces, room))
    return [scene.render(_STEP * number)[0] for number in range(count)]


def source_of(case: Case) -> Source:
    """What the frames of a case are made from: cases with the same share their frames."""
    if case.size is None or case.faces is None:
        return None
    return case.size, case.faces, case.room


def make_frames(
    sources: Iterable[Source], count: int, own: Sequence[Image] = ()
) -> dict[Source, list[Image]]:
    """`count` frames for each source, and the user's own for None."""
    return {source: list(own) if source is None else compose(*source, count) for source in sources}


def digest(frames: Mapping[Source, Sequence[Image]]) -> str:
    """The sha256 of all pixels with their shapes, in order."""
    total = hashlib.sha256()
    for images in frames.values():
        for image in images:
            total.update(repr(image.shape).encode())
            total.update(image.tobytes())
    return total.hexdigest()
