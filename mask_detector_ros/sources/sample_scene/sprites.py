# SPDX-License-Identifier: Apache-2.0
"""Sprites: people as images with transparency, to blend into the scene."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.sources.sample_scene.masks import draw_mask, fill, smooth_curve
from mask_detector_ros.sources.sample_scene.people import Person

_COAT_HEIGHT, _BODY_HEIGHT = 5.6, 6.6
"""Distances from the face centre to the hem of the coat and to the soles, in face heights."""


@dataclass(frozen=True, eq=False)
class Sprite:
    """A person at one resolution.

    Attributes:
        pixels: (H, W, 4) uint8 BGR and coverage; the colours are premultiplied.
        reduction: width of one pixel in portrait pixels.
    """

    pixels: NDArray[np.uint8]
    reduction: int


def draw_sprites(person: Person, largest: float) -> list[Sprite]:
    """Draw the sprites of a person at successively halved resolutions; all share the portrait's
    origin.

    Args:
        largest: the largest scale to be drawn at, in frame pixels per portrait pixel.
            Finer resolutions than it needs are left out.

    Raises:
        SourceError: the portrait is not installed.
    """
    columns = round(max(x for x, _ in person.portrait.outline)) + 2
    photograph = dress(person, person.portrait.load()[:, :columns])
    if person.mask is not None:
        photograph = draw_mask(photograph, person.portrait, person.mask)
    pixels = _cut_out(person, photograph)
    if person.blur > 0:
        sigma = person.blur * person.portrait.face_height / person.size.mean
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)
    sprites = [Sprite(pixels, reduction=1)]
    while min(sprites[-1].pixels.shape[:2]) >= 16:
        sprites.append(_halve(sprites[-1]))
    return sprites[sprites.index(choose_sprite(sprites, largest)) :]


def choose_sprite(sprites: list[Sprite], scale: float) -> Sprite:
    """Choose the coarsest sprite of a person that needs no enlargement at a scale, else the finest.

    Bilinear sampling does not alias while it reduces to more than half the size.
    """
    fitting = [sprite for sprite in sprites if sprite.reduction * scale <= 1]
    return fitting[-1] if fitting else sprites[0]


def _halve(sprite: Sprite) -> Sprite:
    height, width = sprite.pixels.shape[:2]
    # Cropping to even sizes keeps the factor between two resolutions exactly 2.
    even = sprite.pixels[: height // 2 * 2, : width // 2 * 2]
    half = cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return Sprite(np.asarray(half, np.uint8), 2 * sprite.reduction)


def dress(person: Person, photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change a sprite's photograph to the person's skin colour, clothes colour and brightness."""
    portrait = person.portrait
    shape = photograph.shape[:2]
    image = photograph.astype(np.float32) * person.gain
    skin = fill(shape, smooth_curve(portrait.skin), feather=0.02 * portrait.face_height)[..., None]
    image *= 1 + (np.asarray(person.skin, np.float32) - 1) * skin
    if any(person.clothes):
        clothes = (1 - skin) * (np.arange(shape[0]) > portrait.collar)[:, None, None]
        brightness = image.mean(axis=2, keepdims=True)
        dyed = 0.6 * brightness + np.asarray(person.clothes, np.float32)
        image += (dyed - image) * (0.85 * clothes)
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def _cut_out(person: Person, photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Head and shoulders from the photograph, on a drawn body."""
    portrait = person.portrait
    size = portrait.face_height
    rows = round(portrait.centre[1] + _BODY_HEIGHT * size)
    width = photograph.shape[1]
    # About half a pixel inside the outline, so that no old background remains at the edge.
    bust = fill((rows, width), np.asarray(portrait.outline, np.float32), 0.008 * size)
    bust = np.clip(2 * bust - 1, 0, 1)
    bust[: photograph.shape[0]] *= np.clip(
        (portrait.waist - np.arange(photograph.shape[0], dtype=np.float32)) / (0.15 * size), 0, 1
    )[:, None]
    bust[photograph.shape[0] :] = 0

    colour, coverage = _body(person, photograph, rows)
    padded = np.zeros((rows, width, 3), np.float32)
    padded[: photograph.shape[0]] = photograph[:rows]
    colour = colour * (coverage * (1 - bust))[..., None] + padded * bust[..., None]
    coverage = bust + coverage * (1 - bust)
    return np.asarray(np.dstack([colour, 255 * coverage]).round(), np.uint8)


def _body(
    person: Person, photograph: NDArray[np.uint8], rows: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coat and legs below the photograph's cut: (H, W, 3) colours, (H, W) coverage."""
    portrait = person.portrait
    size, waist = portrait.face_height, portrait.waist
    width = photograph.shape[1]
    xs = np.array([x for x, y in portrait.outline if y == waist])
    middle, half = float(xs.mean()), float(np.ptp(xs)) / 2
    hem = portrait.centre[1] + _COAT_HEIGHT * size

    y = np.arange(rows, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    fall = np.clip((y - waist) / (hem - waist), 0, 1)
    reach = half * (1 - 0.3 * np.sin(np.pi * np.minimum(fall, 0.5)) + 0.1 * fall**2)
    across = (x - middle) / reach
    soft = 0.02 * size
    coat = np.clip((1 - np.abs(across)) * reach / soft, 0, 1)
    coat *= np.clip((hem - y) / soft, 0, 1) * (y > waist - 0.16 * size)

    strip = photograph[round(waist - 0.35 * size) : waist, round(middle - half / 2) : round(middle)]
    cloth = np.median(strip.reshape(-1, 3), axis=0).astype(np.float32)
    folds = 1 - 0.35 * np.abs(across) ** 3 + 0.08 * np.sin(11 * across + 2 * fall)
    folds *= 1 - 0.5 * np.exp(-((across / 0.012) ** 2))
    colour = np.clip(cloth * folds[..., None], 0, 255)

    legs = np.zeros((rows, width), np.uint8)
    for side in (-1, 1):
        left, right = sorted((middle + side * 0.12 * half, middle + side * 0.5 * half))
        cv2.rectangle(legs, (round(left), round(hem - 9)), (round(right), rows), 255, -1)
    leg = legs.astype(np.float32) / 255 * (1 - coat)
    coverage = coat + leg
    colour = np.where((leg > 0.5)[..., None], np.float32(38), colour)
    return colour.astype(np.float32), coverage.astype(np.float32)
