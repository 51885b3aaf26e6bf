# SPDX-License-Identifier: Apache-2.0
"""Random augmentation of a face for the mask classifier, and the resulting crop."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.imaging.crops import crop_squares
from training.mask_data import LABELS, FacePatch
from training.synthetic_masks import paint_mask

Image = NDArray[np.uint8]
Box = NDArray[np.float32]

WITH_MASK, WITHOUT_MASK, INCORRECTLY = range(len(LABELS))
PAINTED_INCORRECTLY = 0.4
"""Fraction of painted masks that sit too low."""


def training_crop(
    patch: FacePatch,
    rng: np.random.Generator,
    *,
    size: int,
    margin: float,
    synthetic_mask_share: float,
) -> tuple[Image, int]:
    """Make one randomly augmented crop of a face for the mask classifier.

    Args:
        patch: the face and its surroundings.
        rng: random generator; the same state gives the same crop.
        size: side of the crop in pixels.
        margin: context on each side of the box, as the shipped model uses it.
        synthetic_mask_share: probability that a bare face gets a painted mask.

    Returns:
        (size, size, 3) uint8 BGR crop, and its label.
    """
    pixels, box, label = patch.pixels, patch.box, patch.label
    if patch.is_whole_image:
        pixels, box = _surround(pixels, box, rng)
    if label == WITHOUT_MASK and rng.random() < synthetic_mask_share:
        label = INCORRECTLY if rng.random() < PAINTED_INCORRECTLY else WITH_MASK
        pixels = paint_mask(pixels, box, rng, incorrectly=label == INCORRECTLY)
    if rng.random() < 0.6:
        pixels = _rotate(pixels, box, rng.uniform(-15, 15))
    crop = crop_squares(pixels, jitter_box(box, rng)[None], size, margin)[0]
    if rng.random() < 0.5:
        crop = np.ascontiguousarray(crop[:, ::-1])
    if rng.random() < 0.3:
        _occlude(crop, rng)
    return _change_light(_degrade(crop, rng), rng), label


def jitter_box(box: Box, rng: np.random.Generator) -> Box:
    """Augment a (4,) box: jitter it about as much as detected boxes differ from labels."""
    size = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + rng.normal(0, 0.08, 2) * size
    half = size / 2 * np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.06, 2))
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def _surround(pixels: Image, box: Box, rng: np.random.Generator) -> tuple[Image, Box]:
    """Add a border to a photograph that ends at the face, so that borders do not reveal labels."""
    height, width = pixels.shape[:2]
    shrink = rng.uniform(0.0, 0.1, 4) * [width, height, -width, -height]
    box = (box + shrink).astype(np.float32)
    border = round(max(width, height) * 0.5)
    kind = rng.choice([cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT, cv2.BORDER_CONSTANT])
    color = rng.integers(0, 256, 3).tolist() if rng.random() < 0.6 else (0, 0, 0)
    padded = cv2.copyMakeBorder(pixels, border, border, border, border, int(kind), value=color)
    return np.asarray(padded, np.uint8), (box + border).astype(np.float32)


def _rotate(pixels: Image, box: Box, degrees: float) -> Image:
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    matrix = cv2.getRotationMatrix2D((x, y), degrees, 1.0)
    height, width = pixels.shape[:2]
    return np.asarray(cv2.warpAffine(pixels, matrix, (width, height)), np.uint8)


def _occlude(crop: Image, rng: np.random.Generator) -> None:
    """Occlude a part that does not decide the label: the upper half or a side."""
    size = len(crop)
    width, height = (rng.uniform(0.08, 0.3, 2) * size).astype(int).tolist()
    left = int(rng.uniform(0, size - width))
    top = int(rng.uniform(0, 0.45 * size - height))
    if rng.random() < 0.3:
        left, top = int(rng.choice([0, size - width])), int(rng.uniform(0, size - height))
    crop[top : top + height, left : left + width] = rng.integers(0, 256, 3)


def _degrade(crop: Image, rng: np.random.Generator) -> Image:
    """Simulate distance, lens, sensor and compression at the scale of the small image."""
    size = len(crop)
    small: NDArray[Any] = crop
    if rng.random() < 0.5:
        side = round(float(np.exp(rng.uniform(np.log(24), np.log(size)))))
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.25:
        small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.4, 1.4))
    elif rng.random() < 0.1:
        small = _motion_blur(small, rng)
    if rng.random() < 0.25:
        noise = rng.normal(0, rng.uniform(2, 12), small.shape)
        small = np.clip(small + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.35:
        quality = int(rng.integers(25, 90))
        _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        small = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    if len(small) != size:
        small = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, np.uint8)


def _motion_blur(image: Image, rng: np.random.Generator) -> Image:
    length = int(rng.integers(3, 6))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    middle = (length - 1) / 2
    start, end = np.rint(middle - reach).astype(int), np.rint(middle + reach).astype(int)
    cv2.line(kernel, start.tolist(), end.tolist(), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _change_light(crop: Image, rng: np.random.Generator) -> Image:
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(crop, cv2.COLOR_BGR2HSV).astype(np.int16)
        hsv[..., 0] = (hsv[..., 0] + rng.integers(-10, 11)) % 180
        hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.5, 1.4), 0, 255)
        crop = np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR), np.uint8)
    if rng.random() < 0.06:
        crop = np.repeat(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    levels = np.linspace(0, 1, 256)
    levels = np.clip(levels * rng.uniform(0.7, 1.3) + rng.uniform(-0.12, 0.12), 0, 1)
    levels = levels ** np.exp(rng.normal(0, 0.25))
    gains = 1 + rng.normal(0, 0.05, 3)
    table = np.clip(levels[:, None] * gains * 255, 0, 255).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(crop, table), np.uint8)
