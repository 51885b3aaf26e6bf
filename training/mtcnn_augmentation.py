# SPDX-License-Identifier: Apache-2.0
"""Augment the photographs of MTCNN's training with variations that are too rare in the data set."""

import cv2
import numpy as np
from numpy.typing import NDArray

from training.mask_augmentation import INCORRECTLY, PAINTED_INCORRECTLY, WITH_MASK, WITHOUT_MASK
from training.mask_data import PATCH_REACH
from training.synthetic_masks import paint_mask

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]


def paint_masks(
    image: Image,
    boxes: Boxes,
    labels: NDArray[np.int64],
    share: float,
    rng: np.random.Generator,
) -> tuple[Image, NDArray[np.int64]]:
    """Augment a photograph of MTCNN's training: paint masks on a share of the bare faces; return
    the new image and labels."""
    image, labels = image.copy(), labels.copy()
    height, width = image.shape[:2]
    for i in np.flatnonzero(labels == WITHOUT_MASK):
        if rng.random() >= share:
            continue
        centre = (boxes[i, :2] + boxes[i, 2:]) / 2
        reach = PATCH_REACH * float((boxes[i, 2:] - boxes[i, :2]).max())
        x1, y1 = np.clip(np.floor(centre - reach), 0, [width - 1, height - 1]).astype(int)
        x2, y2 = np.clip(np.ceil(centre + reach), 1, [width, height]).astype(int)
        labels[i] = INCORRECTLY if rng.random() < PAINTED_INCORRECTLY else WITH_MASK
        box = (boxes[i] - np.array([x1, y1, x1, y1])).astype(np.float32)
        image[y1:y2, x1:x2] = paint_mask(
            np.ascontiguousarray(image[y1:y2, x1:x2]),
            box,
            rng,
            incorrectly=labels[i] == INCORRECTLY,
        )
    return image, labels


def rescale(image: Image, boxes: Boxes, rng: np.random.Generator) -> tuple[Image, Boxes]:
    """Augment a photograph of MTCNN's training: scale it and its boxes randomly."""
    factor = np.exp(rng.uniform(np.log(0.4), np.log(1.25)))
    old = np.array(image.shape[1::-1])
    size = np.maximum(np.rint(old * factor), 48).astype(int)
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, size.tolist(), interpolation=interpolation), np.uint8)
    return resized, (boxes * np.tile(size / old, 2)).astype(np.float32)


def compress(image: Image, rng: np.random.Generator) -> Image:
    """Augment a photograph of MTCNN's training: blur it and compress it with JPEG randomly."""
    if rng.random() < 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2)), np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(30, 90))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return image
