# SPDX-License-Identifier: Apache-2.0
"""Face crops to test or calibrate a classifier with: the user's folder, or rendered ones.

`python -m convert_to_trt.face_crops` renders the latter again, from the two public-domain portraits
of the sample scene; it needs the extra `sample`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from convert_to_trt.conversion_parity import square_crop
from mask_detector_ros.errors import ParameterError, SourceError
from mask_detector_ros.label_roles import NO_ROLE, WITH_MASK, WITHOUT_MASK, guess_roles
from mask_detector_ros.sources import read_image
from mask_detector_ros.sources.images import scan_folder

CROPS_LIMIT = 256
"""Maximum number of crops used from a folder; more add no information."""

SHEET = Path(__file__).with_name("rendered_faces.jpg")
SHEET_SIDE, SHEET_COLUMNS = 96, 12
"""Pixels per crop and crops per row of the sheet; the upper half of the rows has masks."""

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class FaceCrops:
    """Face crops of any sizes.

    Attributes:
        images: (H, W, 3) BGR each.
        roles: role of each, one of `label_roles.ROLES`; empty if unknown.
    """

    images: tuple[Image, ...]
    roles: tuple[str, ...] = ()

    def at(self, side: int) -> Image:
        """Resize all face crops to (N, side, side, 3) squares."""
        if not self.images:
            return np.empty((0, side, side, 3), np.uint8)
        return np.stack([square_crop(image, side) for image in self.images])

    def few(self, count: int) -> FaceCrops:
        """Select at most `count` face crops, spread over the whole list."""
        if len(self.images) <= count:
            return self
        kept = [i * len(self.images) // count for i in range(count)]
        roles = tuple(self.roles[i] for i in kept) if self.roles else ()
        return FaceCrops(tuple(self.images[i] for i in kept), roles)


def read_crops(folder: Path, labels: tuple[str, ...], roles: tuple[str, ...]) -> FaceCrops:
    """Read the face crops of a folder and its subfolders.

    Where folders have the names of labels, or synonyms, only their crops are read.

    Args:
        folder: folder with images at any depth.
        labels, roles: labels and roles of the model.

    Raises:
        ParameterError: there is no such folder, or no image in it.
        SourceError: an image cannot be read.
    """
    if not folder.is_dir():
        raise ParameterError(f"--crops must be a folder of face crops, got {folder}")
    try:
        paths = scan_folder(folder, recursive=True).images
    except SourceError as error:
        raise ParameterError(
            f"--crops must be a folder of face crops, or of one subfolder per label: {error}"
        ) from error
    meaning = dict(zip(labels, roles, strict=True))
    by_role: dict[str, list[Path]] = {}
    for path in paths:
        # The innermost folder counts: data/with_mask/val/1.jpg.
        names = path.relative_to(folder).parent.parts[::-1]
        found = (meaning.get(name) or guess_roles((name,))[0] for name in names)
        by_role.setdefault(next(filter(None, found), NO_ROLE), []).append(path)
    named = {role: part for role, part in by_role.items() if role}
    if not named:
        return FaceCrops(tuple(_read(_spread(paths, CROPS_LIMIT))))
    parts = {role: _read(_spread(p, CROPS_LIMIT // len(named))) for role, p in named.items()}
    told = (role for role, part in parts.items() for _ in part)
    return FaceCrops(tuple(chain.from_iterable(parts.values())), tuple(told))


def _spread(paths: Sequence[Path], count: int) -> Sequence[Path]:
    """At most `count` of them, spread over the whole list."""
    return [paths[i * len(paths) // count] for i in range(count)] if len(paths) > count else paths


def _read(paths: Sequence[Path]) -> list[Image]:
    bar = tqdm(paths, unit="image", desc="reading crops", disable=not sys.stderr.isatty())
    return [read_image(path) for path in bar]


def rendered_crops() -> FaceCrops:
    """The face crops shipped with the converter: two people, with and without drawn masks."""
    sheet = read_image(SHEET)
    rows = np.split(sheet, sheet.shape[0] // SHEET_SIDE)
    crops = [crop for row in rows for crop in np.split(row, SHEET_COLUMNS, axis=1)]
    half = len(crops) // 2
    return FaceCrops(tuple(crops), (WITH_MASK,) * half + (WITHOUT_MASK,) * half)


def render_sheet() -> Image:
    """Draw the sheet of rendered face crops: each portrait with six masks, or bare, six times.

    Raises:
        SourceError: the portraits are not installed.
    """
    from mask_detector_ros.sources.sample_scene.masks import Mask
    from mask_detector_ros.sources.sample_scene.people import Person, Wave
    from mask_detector_ros.sources.sample_scene.portraits import ASTRONAUT, HOPPER

    chance = np.random.default_rng(0)
    masks = [
        Mask("pleated", (214, 186, 132)),
        Mask("folded", (232, 236, 238)),
        Mask("plain", (62, 56, 54)),
        Mask("pleated", (190, 170, 225)),
        Mask("plain", (120, 120, 120)),
        Mask("plain", (110, 80, 40)),
    ]
    skins = [
        (1, 1, 1),
        (0.46, 0.5, 0.56),
        (0.62, 0.68, 0.74),
        (0.86, 0.9, 1.02),
        (1.14, 1.05, 0.94),
    ]
    crops = []
    for is_masked, portrait, repeat in itertools.product(
        (True, False), (ASTRONAUT, HOPPER), (0, 1)
    ):
        for number, mask in enumerate(masks):
            skin = skins[(number + 3 * repeat) % len(skins)]
            gain = float(chance.uniform(0.75, 1.1))
            guise = mask if is_masked else None
            person = Person(portrait, guise, Wave(0), Wave(100), skin=skin, gain=gain)
            crops.append(_render(person, chance))
    rows = [crops[i : i + SHEET_COLUMNS] for i in range(0, len(crops), SHEET_COLUMNS)]
    return np.vstack([np.hstack(row) for row in rows])


def _render(person: object, chance: np.random.Generator) -> Image:
    from mask_detector_ros.sources.sample_scene.masks import draw_mask
    from mask_detector_ros.sources.sample_scene.people import Person
    from mask_detector_ros.sources.sample_scene.sprites import dress

    assert isinstance(person, Person)
    image = dress(person, person.portrait.load())
    if person.mask is not None:
        image = draw_mask(image, person.portrait, person.mask)
    half = max(person.portrait.half_size) * chance.uniform(1.0, 1.25)
    centre = np.array(person.portrait.centre) + chance.uniform(-0.05, 0.05, 2) * half
    turn = np.radians(chance.uniform(-10, 10))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation * (SHEET_SIDE / (2 * half))
    if chance.random() < 0.5:
        linear[:, 0] *= -1
    offset = SHEET_SIDE / 2 - linear @ centre
    size = (SHEET_SIDE, SHEET_SIDE)
    crop = cv2.warpAffine(
        image,
        np.column_stack([linear, offset]),
        size,
        flags=cv2.INTER_AREA,
        borderMode=cv2.BORDER_REFLECT,
    )
    blurred = cv2.GaussianBlur(crop, (0, 0), float(chance.uniform(0.3, 1.0)))
    return np.asarray(blurred, np.uint8)


if __name__ == "__main__":
    cv2.imwrite(str(SHEET), render_sheet(), [cv2.IMWRITE_JPEG_QUALITY, 88])
