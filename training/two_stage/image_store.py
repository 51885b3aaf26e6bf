# SPDX-License-Identifier: Apache-2.0
"""ImageStore: holds all training photographs on one device, so that views can be cut there in
batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mask_detector_ros.imaging.image_pyramid import ImagePyramid
from mask_detector_ros.sources import read_image
from training.two_stage.photographs import Photograph

LEVELS = 4
"""Number of pyramid levels per image: a crop reads the smallest level that is large enough, as in
`mask_detector_ros`."""

NOTHING = -1
"""Kind of padding rows in an image's boxes."""

Painter = Callable[
    [Photograph, NDArray[np.uint8], np.random.Generator],
    tuple[NDArray[np.uint8], NDArray[np.int64]],
]
"""Paints masks on a photograph's pixels; returns new pixels, and the kinds of its boxes."""


@dataclass(frozen=True)
class ImageStore:
    """N images with their boxes, as tensors on one device.

    Attributes:
        pixels: (T, 3) uint8 BGR, the pixels of all levels of all images.
        offsets: (N, LEVELS) int64, row of `pixels` at which each level begins.
        sizes: (N, LEVELS, 2) int64, width and height of each level.
        boxes: (N, G, 4) float32, xmin, ymin, xmax, ymax in pixels of level 0.
        kinds: (N, G) int64, index into `LABELS`, `IGNORE`, or `NOTHING`.
        landmarks: (N, G, 5, 2) float32 pixels, NaN where unknown.
        sources: (N,) int64, index into the list of sources given.
        suspect: (N,) bool, whether a label in the image is doubtful.
        painted: (N,) bool, whether masks were painted on the image.
    """

    pixels: Tensor
    offsets: Tensor
    sizes: Tensor
    boxes: Tensor
    kinds: Tensor
    landmarks: Tensor
    sources: Tensor
    suspect: Tensor
    painted: Tensor

    def __len__(self) -> int:
        return len(self.offsets)

    def to(self, device: torch.device | str) -> ImageStore:
        """Copy the image store to another device."""
        return ImageStore(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True)
class _Loaded:
    levels: list[NDArray[np.uint8]]
    kinds: NDArray[np.int64]


def load_store(
    photographs: Sequence[Photograph],
    sources: Sequence[str],
    *,
    painted: Sequence[int] = (),
    painter: Painter | None = None,
    seed: int = 0,
    workers: int = 1,
) -> ImageStore:
    """Load photographs into an image store, and additional copies of some with painted masks.

    Args:
        photographs: the photographs in the order of the store.
        sources: the names that the store's `sources` indexes.
        painted: indices of photographs to add again, once per entry, with painted masks.
        painter: paints those.
        seed: seed of the painted masks.
        workers: number of processes.
    """
    photos = [*photographs, *(photographs[index] for index in painted)]
    seeds = [None] * len(photographs) + [seed + copy for copy in range(len(painted))]
    load = partial(_load, painter)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            loaded = list(pool.map(load, photos, seeds, chunksize=16))
    else:
        loaded = list(map(load, photos, seeds))
    most = max(1, *(len(p.boxes) for p in photos))
    boxes = torch.zeros(len(photos), most, 4)
    kinds = torch.full((len(photos), most), NOTHING)
    landmarks = torch.full((len(photos), most, 5, 2), float("nan"))
    for row, (photo, image) in enumerate(zip(photos, loaded, strict=True)):
        count = len(photo.boxes)
        boxes[row, :count] = torch.from_numpy(photo.boxes)
        kinds[row, :count] = torch.from_numpy(image.kinds)
        landmarks[row, :count] = torch.from_numpy(photo.landmarks)
    levels = [level.reshape(-1, 3) for image in loaded for level in image.levels]
    starts = np.cumsum([0, *(len(level) for level in levels)])[:-1]
    sizes = [level.shape[1::-1] for image in loaded for level in image.levels]
    return ImageStore(
        torch.from_numpy(np.concatenate(levels)),
        torch.from_numpy(starts).reshape(-1, LEVELS),
        torch.tensor(sizes).reshape(-1, LEVELS, 2),
        boxes,
        kinds,
        landmarks,
        torch.tensor([sources.index(photo.source) for photo in photos]),
        torch.tensor([photo.suspect for photo in photos]),
        torch.arange(len(photos)) >= len(photographs),
    )


def _load(painter: Painter | None, photo: Photograph, seed: int | None) -> _Loaded:
    image, kinds = read_image(photo.path), photo.kinds.astype(np.int64)
    if painter is not None and seed is not None:
        image, kinds = painter(photo, image, np.random.default_rng(seed))
    pyramid = ImagePyramid(image)
    return _Loaded([pyramid[level] for level in range(LEVELS)], kinds)


def cut_views(
    store: ImageStore,
    images: Tensor,
    matrices: Tensor,
    levels: Tensor,
    side: int,
    extended: Tensor | None = None,
) -> Tensor:
    """Cut square views of a store's images with bilinear sampling, black outside the image. On the
    CPU OpenCV does this, which places samples on a grid of 1/32 pixel.

    Args:
        store: the images.
        images: (B,) indices of the images.
        matrices: (B, 2, 3) affine transforms from view pixels (corners at 0 and `side`) to pixels
            of level 0.
        levels: (B,) the level to read.
        side: side of the views in pixels.
        extended: (B,) bool, whether to repeat the image's edge outside it instead of black.

    Returns:
        (B, 3, side, side) float32, BGR, 0 to 255.
    """
    cut = _cut_with_opencv if store.pixels.device.type == "cpu" else _cut_with_torch
    return cut(store, images, matrices, levels, side, extended)


def _cut_with_torch(
    store: ImageStore,
    images: Tensor,
    matrices: Tensor,
    levels: Tensor,
    side: int,
    extended: Tensor | None,
) -> Tensor:
    device = store.pixels.device
    middles = torch.arange(side, device=device, dtype=torch.float32) + 0.5
    grid_y, grid_x = torch.meshgrid(middles, middles, indexing="ij")
    grid = torch.stack([grid_x, grid_y, torch.ones_like(grid_x)]).reshape(3, -1)
    scale = (2.0**levels)[:, None]
    points = matrices @ grid
    x, y = points[:, 0] / scale - 0.5, points[:, 1] / scale - 0.5
    left, top = x.floor(), y.floor()
    start = store.offsets[images, levels][:, None]
    width, height = store.sizes[images, levels].T[..., None]
    total = torch.zeros(len(images), side * side, 3, device=device)
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = left.long() + dx, top.long() + dy
            inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
            if extended is not None:
                inside = inside | extended[:, None]
            index = start + row.clamp(min=0).minimum(height - 1) * width
            index = index + column.clamp(min=0).minimum(width - 1)
            share_x = x - left if dx else 1 - (x - left)
            share_y = y - top if dy else 1 - (y - top)
            share = share_x * share_y * inside
            total += store.pixels[index].float() * share[..., None]
    return total.transpose(1, 2).reshape(len(images), 3, side, side)


def _cut_with_opencv(
    store: ImageStore,
    images: Tensor,
    matrices: Tensor,
    levels: Tensor,
    side: int,
    extended: Tensor | None,
) -> Tensor:
    pixels, starts = store.pixels.numpy(), store.offsets[images, levels].tolist()
    sizes, scales = store.sizes[images, levels].tolist(), (2.0**levels).tolist()
    repeated = [False] * len(images) if extended is None else extended.tolist()
    views = np.empty((len(images), side, side, 3), np.uint8)
    rows = zip(views, matrices.double().numpy(), starts, sizes, scales, repeated, strict=True)
    for view, matrix, start, (width, height), scale, repeat in rows:
        level = pixels[start : start + width * height].reshape(height, width, 3)
        # OpenCV counts from the middles of pixels.
        middle = (matrix @ [0.5, 0.5, 1.0]) / scale - 0.5
        cv2.warpAffine(
            level,
            np.column_stack([matrix[:, :2] / scale, middle]),
            (side, side),
            dst=view,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE if repeat else cv2.BORDER_CONSTANT,
        )
    return torch.from_numpy(views).permute(0, 3, 1, 2).float()


def levels_for(scale: Tensor) -> Tensor:
    """(B,) int64, the level of a store's image to read for a view whose pixels cover `scale` image
    pixels."""
    return scale.clamp(min=1).log2().floor().long().clamp(max=LEVELS - 1)
