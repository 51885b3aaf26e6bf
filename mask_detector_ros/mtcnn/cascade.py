"""The cascade: P-Net proposes windows, R-Net refines them, O-Net decides and places landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.crops import crop_squares, square_slices
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference.base import Array, Session
from mask_detector_ros.mtcnn.boxes import (
    FloatArray,
    bbox_regression,
    merge_boxes,
    non_max_suppression,
    suppress_contained,
)
from mask_detector_ros.mtcnn.pyramid import WINDOW, image_pyramid, pyramid_shapes, to_network_input

STRIDE = 2
"""Pixels between two windows of P-Net, from its one pooling layer."""

LEVEL_OVERLAP, MOVED_OVERLAP, LAST_OVERLAP = 0.5, 0.6, 0.7
"""Suppression within a pyramid level, of the boxes that P-Net and R-Net have moved, and, by share
of the smaller box, of the faces. First and last are those of the paper's code. It suppresses
before boxes move; after, those of one face lie together, and fewer crops find more faces
(docs/accuracy/cascade.md)."""

RNET_SIDE, ONET_SIDE = 24, 48

BATCH_LIMIT = 16
"""Crops in one call: what lies between two layers then stays in a core's cache, which takes a
quarter off the time of 128; and an image full of candidates takes no more memory."""


@dataclass(frozen=True)
class CascadeSettings:
    """What can change from one image to the next; the parameters of the same names."""

    min_face_size: int
    pyramid_factor: float
    detection_thresholds: tuple[float, float, float]
    max_faces: int


class Cascade:
    """MTCNN over three sessions.

    Raises:
        ModelError: a session's network is not the stage it is given for.
    """

    def __init__(self, pnet: Session, rnet: Session, onet: Session) -> None:
        pnet.require({"images": (-1, 3, -1, -1)}, ("scores", "offsets"))
        rnet.require({"images": (-1, 3, RNET_SIDE, RNET_SIDE)}, ("scores", "offsets"))
        onet.require({"images": (-1, 3, ONET_SIDE, ONET_SIDE)}, ("scores", "offsets", "landmarks"))
        self.pnet, self.rnet, self.onet = pnet, rnet, onet

    def __call__(self, image: NDArray[np.uint8], settings: CascadeSettings) -> Faces:
        """Find the faces of a (H, W, 3) BGR image, best score first, without labels."""
        proposal, refinement, decision = settings.detection_thresholds
        boxes = self._propose(image, settings, proposal)
        boxes = self._refine(image, boxes, refinement)
        faces = self._decide(image, boxes, decision)
        return faces[: settings.max_faces] if settings.max_faces else faces

    def _propose(
        self, image: NDArray[np.uint8], settings: CascadeSettings, threshold: float
    ) -> FloatArray:
        height, width = image.shape[:2]
        shapes = pyramid_shapes(height, width, settings.min_face_size, settings.pyramid_factor)
        levels = [
            (np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 4), np.float32))
        ]
        for level in image_pyramid(image, shapes):
            maps = self.pnet.run(images=to_network_input(level[None]))
            scale = np.array([width / level.shape[1], height / level.shape[0]], np.float32)
            levels.append(window_boxes(maps["scores"][0, 0], maps["offsets"][0], threshold, scale))
        groups = np.repeat(np.arange(len(levels)), [len(scores) for _, scores, _ in levels])
        boxes, scores, offsets = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        kept = non_max_suppression(boxes, scores, LEVEL_OVERLAP, groups)
        return self._move_proposals(boxes[kept], offsets[kept], scores[kept])

    def _move_proposals(
        self, boxes: FloatArray, offsets: FloatArray, scores: FloatArray
    ) -> FloatArray:
        boxes = bbox_regression(boxes, offsets)
        return boxes[non_max_suppression(boxes, scores, MOVED_OVERLAP)]

    def _refine(self, image: NDArray[np.uint8], boxes: FloatArray, threshold: float) -> FloatArray:
        boxes, out = _run_on_crops(self.rnet, image, boxes, RNET_SIDE, threshold)
        return self._move_refined(boxes, out["offsets"], out["scores"][:, 0])

    def _move_refined(
        self, boxes: FloatArray, offsets: FloatArray, scores: FloatArray
    ) -> FloatArray:
        return merge_boxes(bbox_regression(boxes, offsets), scores, MOVED_OVERLAP)

    def _decide(self, image: NDArray[np.uint8], boxes: FloatArray, threshold: float) -> Faces:
        boxes, out = _run_on_crops(self.onet, image, boxes, ONET_SIDE, threshold)
        corner, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        # The network gives five x, then five y, as shares of the crop.
        landmarks = corner + sides * out["landmarks"].reshape(-1, 2, 5).transpose(0, 2, 1)
        faces = Faces(bbox_regression(boxes, out["offsets"]), out["scores"][:, 0], landmarks)
        return faces[suppress_contained(faces.boxes, faces.scores, LAST_OVERLAP)]


def window_boxes(
    scores: FloatArray, offsets: FloatArray, threshold: float, scale: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The windows of one pyramid level that P-Net takes for faces.

    Args:
        scores: (h, w) P-Net's map of face scores.
        offsets: (4, h, w) its map of box offsets.
        threshold: the score that a window must reach.
        scale: (2,) source pixels a level's pixel, in x and y.

    Returns:
        (N, 4) windows in source pixels, (N,) scores, (N, 4) offsets.
    """
    rows, columns = np.nonzero(scores >= threshold)
    corner = STRIDE * np.stack([columns, rows], axis=1).astype(np.float32)
    windows = np.concatenate([corner * scale, (corner + WINDOW) * scale], axis=1)
    return windows, scores[rows, columns], offsets[:, rows, columns].T


def _run_on_crops(
    session: Session, image: NDArray[np.uint8], boxes: FloatArray, side: int, threshold: float
) -> tuple[FloatArray, dict[str, Array]]:
    """Run a stage on the squares about the boxes; keep those that reach the threshold."""
    # In whole pixels, as they are cut: the network's offsets refer to what it saw.
    squares = square_slices(boxes, margin=0.0).astype(np.float32)
    batches = []
    for start in range(0, max(len(squares), 1), BATCH_LIMIT):
        crops = crop_squares(image, squares[start : start + BATCH_LIMIT], side, margin=0.0)
        batches.append(session.run(images=to_network_input(crops)))
    out = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    kept = out["scores"][:, 0] >= threshold
    return squares[kept], {name: values[kept] for name, values in out.items()}
