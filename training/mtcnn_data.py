# SPDX-License-Identifier: Apache-2.0
"""Training data of MTCNN: crops harvested from photographs by the preceding stages.

Zhang et al. ("Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks",
2016) train each stage on the output of the preceding ones. This module does the same.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import intersection_over_union
from mask_detector_ros.imaging.crops import crop_squares, square_slices
from mask_detector_ros.imaging.image_pyramid import ImagePyramid
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.three_stage_cascade import Cascade
from training.mask_augmentation import WITHOUT_MASK
from training.mtcnn_augmentation import Boxes, Image, compress, paint_masks, rescale
from training.mtcnn_settings import Settings
from training.two_stage.photographs import IGNORE, Photograph, read_photographs

NEGATIVE, PART, POSITIVE = range(3)
UNUSED = -1
NO_LABEL = -1
SAME_FACE = 0.4
"""Minimum overlap of a stock detection with the known face that gets its landmarks."""

DOUBTFUL = 0.2
"""Minimum overlap with a possibly unlabelled face at which a square does not count as
background."""

PYRAMID_FACTOR = 0.709
STOCK = DetectionSettings(20, PYRAMID_FACTOR, (0.6, 0.7, 0.7), 0)


@dataclass(frozen=True)
class Samples:
    """MTCNN's training samples: crops and their targets.

    Attributes:
        crops: (N, side, side, 3) uint8 BGR.
        kinds: (N,) int8: `NEGATIVE`, `PART` or `POSITIVE`.
        labels: (N,) int8, index into `LABELS`; -1 for background.
        offsets: (N, 4) float32, from the square's edges to the face box, relative to the square's
            side.
        landmarks: (N, 10) float32, five x, then five y, as fractions of the square; NaN if unknown.
    """

    crops: Image
    kinds: NDArray[np.int8]
    labels: NDArray[np.int8]
    offsets: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.kinds)


def join_samples(parts: list[Samples]) -> Samples:
    """Concatenate MTCNN training samples of a non-empty list."""
    return Samples(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Samples)))


def labelled_photographs(folder: Path) -> list[Photograph]:
    """MTCNN's training data: the photographs of split `train` with faces to find, without their
    ignored boxes."""
    photographs = []
    for photograph in read_photographs(folder, "train"):
        known = photograph.kinds < IGNORE
        if known.any() and not photograph.is_labels_only:
            kinds = photograph.kinds[known].astype(np.int64)
            photographs.append(replace(photograph, boxes=photograph.boxes[known], kinds=kinds))
    return photographs


def harvest(
    stage: str,
    side: int,
    image: Image,
    photograph: Photograph,
    cascade: Cascade,
    stock: Cascade,
    settings: Settings,
    rng: np.random.Generator,
    *,
    changed: bool,
) -> Samples:
    """Harvest MTCNN training samples from one view of a photograph.

    Args:
        stage: the network to train: `pnet`, `rnet` or `onet`.
        side: side of its crops in pixels.
        image: the photograph, (H, W, 3) BGR.
        photograph: its known faces.
        cascade: the cascade whose stages before `stage` propose; for `pnet`, its P-Net does.
        stock: the cascade that provides landmarks.
        settings: overlap bounds and sample counts.
        rng: random generator.
        changed: whether to augment: scale, compress, and paint masks on the photograph.
    """
    boxes, labels = photograph.boxes, photograph.kinds
    if changed:
        image, boxes = rescale(image, boxes, rng)
    known = stock(image, STOCK)
    if changed:
        image, labels = paint_masks(image, boxes, labels, settings.painted_share, rng)
        image = compress(image, rng)
    squares = _squares(boxes)
    jittered = [
        jitter_squares(squares[labels == label], count, rng)
        for label, count in enumerate(settings.samples_of_face)
    ]
    blind = _random_squares(image, settings.negatives_of_photograph[stage], rng)
    candidates = [*jittered, _propose(stage, image, cascade, settings), blind]
    candidates = square_slices(np.concatenate(candidates), 0.0, side).astype(np.float32)
    kinds, nearest = judge_squares(
        candidates, squares, _unlabelled(known, squares, settings), settings
    )
    is_blind = np.arange(len(candidates)) >= len(candidates) - len(blind)
    negatives = _choose_negatives(stage, kinds == NEGATIVE, is_blind, settings, rng)
    chosen = np.concatenate([np.flatnonzero(kinds >= PART), negatives])
    face = nearest[chosen]
    landmarks = _landmarks_of_faces(known, boxes, photograph.kinds)[face]
    return _cut(
        image, side, candidates[chosen], kinds[chosen], boxes[face], labels[face], landmarks
    )


def judge_squares(
    candidates: Boxes, squares: Boxes, unlabelled: Boxes, settings: Settings
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Classify each candidate square of MTCNN's training data by its overlap with faces.

    Args:
        candidates: (N, 4) squares to classify.
        squares: (M, 4) squares around the known faces, M at least 1.
        unlabelled: (K, 4) squares that may show an unlabelled face.
        settings: the overlap bounds.

    Returns:
        (N,) kinds, `UNUSED` for doubtful ones; (N,) index of the most overlapping face.
    """
    overlaps = intersection_over_union(candidates, squares)
    nearest, overlap = overlaps.argmax(axis=1), overlaps.max(axis=1)
    kinds = np.full(len(candidates), UNUSED, np.int8)
    doubtful = intersection_over_union(candidates, unlabelled).max(axis=1, initial=0)
    kinds[(overlap < settings.negative_overlap) & (doubtful <= DOUBTFUL)] = NEGATIVE
    kinds[overlap >= settings.part_overlap] = PART
    kinds[overlap >= settings.positive_overlap] = POSITIVE
    is_small = squares[nearest, 2] - squares[nearest, 0] < settings.min_face_side
    kinds[(kinds >= PART) & is_small] = UNUSED
    kinds[candidates[:, 2] - candidates[:, 0] < settings.min_face_side] = UNUSED
    return kinds, nearest


def _cut(
    image: Image,
    side: int,
    squares: Boxes,
    kinds: NDArray[np.int8],
    boxes: Boxes,
    labels: NDArray[np.int64],
    landmarks: NDArray[np.float32],
) -> Samples:
    sides = squares[:, 2:] - squares[:, :2]
    offsets = (boxes - squares) / np.concatenate([sides, sides], axis=1)
    inside = (landmarks - squares[:, None, :2]) / sides[:, None]
    inside = inside.transpose(0, 2, 1).reshape(-1, 10)
    background = kinds == NEGATIVE
    offsets[background], inside[background] = 0, np.nan
    return Samples(
        crop_squares(image, squares, side, margin=0.0),
        kinds,
        np.where(background, NO_LABEL, labels).astype(np.int8),
        offsets.astype(np.float32),
        inside.astype(np.float32),
    )


def _choose_negatives(
    stage: str,
    is_negative: NDArray[np.bool_],
    is_blind: NDArray[np.bool_],
    settings: Settings,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    count = settings.negatives_of_photograph[stage]
    blind_count = round(settings.random_share * count)
    chosen = []
    for among, most in ((is_blind, blind_count), (~is_blind, count - blind_count)):
        rows = np.flatnonzero(is_negative & among)
        chosen.append(rng.permutation(rows)[:most])
    return np.concatenate(chosen)


def _propose(stage: str, image: Image, cascade: Cascade, settings: Settings) -> Boxes:
    threshold = settings.harvest_threshold
    cascade_settings = DetectionSettings(
        settings.harvest_min_face, PYRAMID_FACTOR, (threshold, threshold, threshold), 0
    )
    pyramid = ImagePyramid(image)
    boxes = cascade.propose(pyramid, cascade_settings, threshold)
    return cascade.refine(pyramid, boxes, threshold) if stage == "onet" else boxes


def _squares(boxes: Boxes) -> Boxes:
    """(N, 4) squares with the same centres and the boxes' longer sides."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def jitter_squares(squares: Boxes, count: int, rng: np.random.Generator) -> Boxes:
    """(N * count, 4) squares for MTCNN's training data, shifted and scaled about as much as
    proposals miss faces."""
    squares = np.repeat(squares, count, axis=0)
    sides = squares[:, 2:] - squares[:, :2]
    centres = squares[:, :2] + sides * (0.5 + rng.uniform(-0.2, 0.2, (len(squares), 2)))
    half = sides / 2 * np.exp(rng.uniform(-0.3, 0.3, (len(squares), 1)))
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def _random_squares(image: Image, count: int, rng: np.random.Generator) -> Boxes:
    height, width = image.shape[:2]
    sides = np.exp(rng.uniform(np.log(14), np.log(max(min(height, width), 15)), count))
    corners = rng.uniform(0, 1, (count, 2)) * (np.array([width, height]) - sides[:, None])
    return np.concatenate([corners, corners + sides[:, None]], axis=1).astype(np.float32)


def _unlabelled(known: Faces, squares: Boxes, settings: Settings) -> Boxes:
    overlap = intersection_over_union(_squares(known.boxes), squares).max(axis=1, initial=0)
    sure = known.scores >= settings.unlabelled_score
    return _squares(known.boxes[sure & (overlap < settings.negative_overlap)])


def _landmarks_of_faces(
    known: Faces, boxes: Boxes, labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(N, 5, 2) landmarks, from the stock cascade, of faces that are bare in the photograph."""
    landmarks = np.full((len(boxes), 5, 2), np.nan, np.float32)
    if len(known.boxes):
        overlaps = intersection_over_union(boxes, known.boxes)
        found = (overlaps.max(axis=1) >= SAME_FACE) & (labels == WITHOUT_MASK)
        landmarks[found] = known.landmarks[overlaps.argmax(axis=1)[found]]
    return landmarks
