# SPDX-License-Identifier: Apache-2.0
"""Benchmark frames: a hall with a given number of people, all facing the camera."""

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
"""(size, people, room) of composed frames; None for the user's own images."""

_FACE_IN_CELL = np.array((0.62, 0.52))
"""Face height as a fraction of the width and height of its cell, so that heads do not overlap."""

_SWAY = 0.06
"""Largest displacement of a face from the centre of its cell, as a fraction of the cell."""

_STEP = 37
"""Step between the frames taken from the scene, which runs at 15 Hz."""


def place_people_in_frame(size: Size, faces: int, room: int) -> list[Person]:
    """Place people in a benchmark frame, in rows, one per cell.

    Args:
        size: width and height of the frame.
        room: number of cells; more cells mean smaller faces.
    """
    random = np.random.default_rng([*size, faces, room])
    columns = max(1, round(math.sqrt(room * size[0] / size[1])))
    rows = math.ceil(room / columns)
    # The scene's layout is stretched to the frame's size; faces are not.
    across, down = SCENE_WIDTH / columns, SCENE_HEIGHT / rows
    stretch = np.divide(size, (SCENE_WIDTH, SCENE_HEIGHT))
    height = float(min(_FACE_IN_CELL * stretch / stretch.min() * (across, down)))
    cells = np.sort(random.choice(columns * rows, faces, replace=False))
    people = []
    for cell, person in zip(cells.tolist(), random.permutation(faces).tolist(), strict=True):
        row, column = divmod(cell, columns)
        period, phase, nearer, turn = random.uniform(size=4).tolist()
        # Lower in the frame is nearer: larger, and drawn over people behind.
        face = height * (0.9 + 0.1 * (row + nearer) / rows)
        x, y = (column + 0.5) * across, (row + 0.5) * down
        people.append(
            replace(
                PEOPLE[person % len(PEOPLE)],
                x=Wave(x, _SWAY * across, 5 + 10 * period, phase),
                size=Wave(face),
                # `Person.pose` moves larger faces down; undo that, since each has its cell.
                drop=y - 45 - 3 * (face - 26),
                roll=Wave(10 * turn - 5),
                blur=0.0,
            )
        )
    return people


def compose(size: Size, faces: int, room: int, count: int) -> list[Image]:
    """Render `count` benchmark frames with this many faces, (height, width, 3) uint8 BGR;
    deterministic.

    Raises:
        ParameterError: the sample scene does not support the size.
        SourceError: a portrait of the scene is not installed.
    """
    scene = SampleScene(*size, place_people_in_frame(size, faces, room))
    return [scene.render(_STEP * number)[0] for number in range(count)]


def source_of(case: Case) -> Source:
    """The source of a case's benchmark frames; cases with the same source share frames."""
    if case.size is None or case.faces is None:
        return None
    return case.size, case.faces, case.room


def make_frames(
    sources: Iterable[Source], count: int, own: Sequence[Image] = ()
) -> dict[Source, list[Image]]:
    """Make `count` benchmark frames per source, and read the user's own images for None."""
    return {source: list(own) if source is None else compose(*source, count) for source in sources}


def digest(frames: Mapping[Source, Sequence[Image]]) -> str:
    """The sha256 of all pixels of the benchmark frames with their shapes, in order."""
    total = hashlib.sha256()
    for images in frames.values():
        for image in images:
            total.update(repr(image.shape).encode())
            total.update(image.tobytes())
    return total.hexdigest()
