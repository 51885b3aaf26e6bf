# SPDX-License-Identifier: Apache-2.0
"""The benchmark's cases: the default selection, and products of axes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

Size = tuple[int, int]

DETECT, LABEL = "detect", "label"
"""The two jobs: detection, and detection with labels."""

SIZES: tuple[Size, ...] = ((640, 480), (1280, 720), (1920, 1080))
MIN_FACE_SIZES = (20, 40, 80)
FACES = (0, 1, 6, 20, 50)
THREADS = (1, 2)

PLACES = 20
"""Minimum number of faces that a frame is laid out for, so that few faces are not huge."""


@dataclass(frozen=True)
class Case:
    """One benchmark case: a job on one kind of frame with one setting.

    Attributes:
        job: `DETECT` or `LABEL`.
        size: width and height of the frames; None for the user's own images.
        faces: people in each frame; None for the user's own images.
        min_face_size: minimum face size in pixels.
        threads: number of threads per subject.
        room: number of people a frame is laid out for, which fixes the size of the faces.
        peers: whether the peers run too, or only our own subjects.
    """

    job: str
    size: Size | None
    faces: int | None
    min_face_size: int
    threads: int = 1
    room: int = PLACES
    peers: bool = False

    def __str__(self) -> str:
        size = "own images" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        faces = "" if self.faces is None else f", {self.faces} faces"
        return f"{self.job}, {size}{faces}, min face {self.min_face_size}, threads {self.threads}"


def selection(own_images: bool = False) -> list[Case]:
    """The default benchmark cases: a few minutes that answer the usual questions."""
    cases = [
        Case(DETECT, size, 6, face, peers=True) for size in SIZES[:2] for face in MIN_FACE_SIZES[:2]
    ]
    cases.append(Case(LABEL, SIZES[0], 6, 40, peers=True))
    cases += [Case(LABEL, SIZES[1], faces, 40, room=max(FACES)) for faces in FACES]
    cases += [Case(LABEL, size, 6, face) for face in MIN_FACE_SIZES[:2] for size in SIZES]
    cases += [Case(LABEL, size, 6, 20, threads) for size in SIZES[:2] for threads in THREADS]
    if own_images:
        cases += own_cases((20, 40), (1,))
    return without_repeats(cases)


def axes(
    sizes: Sequence[Size],
    min_face_sizes: Sequence[int],
    faces: Sequence[int],
    threads: Sequence[int],
    own_images: bool = False,
) -> list[Case]:
    """The benchmark cases of both jobs at every combination of the values."""
    room = max(PLACES, *faces)
    cases = [
        Case(job, size, count, min_face_size, number, room, peers=True)
        for job, size, min_face_size, count, number in product(
            (DETECT, LABEL), sizes, min_face_sizes, faces, threads
        )
    ]
    return cases + (own_cases(min_face_sizes, threads) if own_images else [])


def own_cases(min_face_sizes: Iterable[int], threads: Iterable[int]) -> list[Case]:
    """The benchmark cases of both jobs on the user's own images."""
    return [
        Case(job, None, None, min_face_size, number, peers=True)
        for job, min_face_size, number in product((DETECT, LABEL), min_face_sizes, threads)
    ]


def without_repeats(cases: Iterable[Case]) -> list[Case]:
    """The distinct benchmark cases in order; of two that differ only in `peers`, the one with
    peers."""
    found: dict[tuple[object, ...], Case] = {}
    for case in cases:
        key = (case.job, case.size, case.faces, case.min_face_size, case.threads, case.room)
        if key not in found or case.peers:
            found[key] = case
    return list(found.values())
