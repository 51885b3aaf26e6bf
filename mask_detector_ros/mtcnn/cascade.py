"""The cascade: P-Net proposes windows, R-Net refines them, O-Net decides and places landmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mask_detector_ros.crops import cut_squares, square_slices
from mask_detector_ros.faces import Faces
from mask_detector_ros.inference.base import Array, Session
from mask_detector_ros.mipmap import Image, Mipmap
from mask_detector_ros.mtcnn.boxes import (
    FloatArray,
    bbox_regression,
    merge_boxes,
    non_max_suppression,
    suppress_contained,
)
from mask_detector_ros.mtcnn.pyramid import Canvas, lay_out, pyramid_shapes
from mask_detector_ros.mtcnn.windows import (
    CANVAS,
    Windows,
    suppress_neighbours,
    windows_on_canvas,
)

MOVED_OVERLAP, LAST_OVERLAP = 0.6, 0.7
"""Suppression of the boxes that P-Net and R-Net have moved, and, by share of the smaller box, of
the faces, which is that of the paper's code. It suppresses before boxes move; after, those of one
face lie together, and fewer crops find more faces (docs/accuracy/cascade.md)."""

RNET_SIDE, ONET_SIDE = 24, 48

BATCH_LIMIT = 16
"""Crops in one call: what lies between two layers then stays in a core's cache, which takes a
quarter off the time of 128; and an image full of candidates takes no more memory."""

NEAR_MARGIN, NEAR_SIDES = 0.75, (60, 42, 30, 22)
"""Where a face is looked for near its last place: in a square two and a half times as wide, at
four sizes, so that its own is 0.7 to 2 windows of P-Net: levels of a pyramid again. Without the
largest, one face in a hundred is lost."""


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

    def __call__(
        self, image: Image | Mipmap, settings: CascadeSettings, near: FloatArray | None = None
    ) -> Faces:
        """Find the faces of a (H, W, 3) BGR image, best score first, without labels.

        With `near`, (N, 4) boxes, only those that lie about there and are about as large.
        """
        proposal, refinement, decision = settings.detection_thresholds
        mipmap = Mipmap.of(image)
        if near is None:
            boxes = self._propose(mipmap, settings, proposal)
        else:
            boxes = self._propose_near(mipmap, near, proposal)
        boxes = self._refine(mipmap, boxes, refinement)
        faces = self._decide(mipmap, boxes, decision)
        return faces[: settings.max_faces] if settings.max_faces else faces

    def _propose(self, image: Mipmap, settings: CascadeSettings, threshold: float) -> FloatArray:
        height, width = image[0].shape[:2]
        shapes = pyramid_shapes(height, width, settings.min_face_size, settings.pyramid_factor)
        found = []
        for canvas in lay_out(shapes):
            pixels, scales = canvas.draw(image)
            found.append(windows_on_canvas(canvas, scales, self._scan(canvas, pixels), threshold))
        return self._choose_proposals(found)

    def _propose_near(self, image: Mipmap, near: FloatArray, threshold: float) -> FloatArray:
        squares = [square_slices(near, NEAR_MARGIN, side) for side in NEAR_SIDES]
        crops = [
            crop
            for side, places in zip(NEAR_SIDES, squares, strict=True)
            for crop in cut_squares(image, places, side)
        ]
        corners = np.concatenate(squares)[:, :2].astype(np.float32)
        sides = np.concatenate([places[:, 2:] - places[:, :2] for places in squares])
        found = []
        for canvas in lay_out(tuple(crop.shape[:2] for crop in crops)):
            scales = (sides / np.array(canvas.shapes)).astype(np.float32)
            maps = self._scan(canvas, canvas.paste(crops))
            windows = windows_on_canvas(canvas, scales, maps, threshold)
            boxes = windows.boxes + np.tile(corners[windows.levels], 2)
            found.append(replace(windows, boxes=boxes))
        return self._choose_proposals(found)

    def _scan(self, canvas: Canvas, pixels: Image) -> Iterator[tuple[FloatArray, FloatArray]]:
        """P-Net's scores (h, w) and offsets (4, h, w) of each band of a canvas."""
        rows, tops = canvas.bands
        for top in tops:
            out = self.pnet.run(images=_channels_first(pixels[None, top : top + rows]))
            yield out["scores"][0, 0], out["offsets"][0]

    def _choose_proposals(self, found: list[Windows]) -> FloatArray:
        """The boxes, best first, of what was found on each canvas."""
        if not found:
            return np.empty((0, 4), np.float32)
        boxes = np.concatenate([windows.boxes for windows in found])
        scores = np.concatenate([windows.scores for windows in found])
        offsets = np.concatenate([windows.offsets for windows in found])
        cells = np.concatenate([w.cells + number * CANVAS for number, w in enumerate(found)])
        kept = suppress_neighbours(cells, scores)
        return self._move_proposals(boxes[kept], offsets[kept], scores[kept])

    def _move_proposals(
        self, boxes: FloatArray, offsets: FloatArray, scores: FloatArray
    ) -> FloatArray:
        boxes = bbox_regression(boxes, offsets)
        return boxes[non_max_suppression(boxes, scores, MOVED_OVERLAP)]

    def _refine(self, image: Mipmap, boxes: FloatArray, threshold: float) -> FloatArray:
        boxes, out = _run_on_crops(self.rnet, image, boxes, RNET_SIDE, threshold)
        return self._move_refined(boxes, out["offsets"], out["scores"][:, 0])

    def _move_refined(
        self, boxes: FloatArray, offsets: FloatArray, scores: FloatArray
    ) -> FloatArray:
        return merge_boxes(bbox_regression(boxes, offsets), scores, MOVED_OVERLAP)

    def _decide(self, image: Mipmap, boxes: FloatArray, threshold: float) -> Faces:
        boxes, out = _run_on_crops(self.onet, image, boxes, ONET_SIDE, threshold)
        corner, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        # The network gives five x, then five y, as shares of the crop.
        landmarks = corner + sides * out["landmarks"].reshape(-1, 2, 5).transpose(0, 2, 1)
        faces = Faces(bbox_regression(boxes, out["offsets"]), out["scores"][:, 0], landmarks)
        return faces[suppress_contained(faces.boxes, faces.scores, LAST_OVERLAP)]


def _run_on_crops(
    session: Session, image: Mipmap, boxes: FloatArray, side: int, threshold: float
) -> tuple[FloatArray, dict[str, Array]]:
    """Run a stage on the squares about the boxes; keep those that reach the threshold."""
    # In whole pixels, as they are cut: the network's offsets refer to what it saw.
    squares = square_slices(boxes, 0.0, side)
    crops = cut_squares(image, squares, side)
    batches = []
    for start in range(0, max(len(crops), 1), BATCH_LIMIT):
        batches.append(session.run(images=_channels_first(crops[start : start + BATCH_LIMIT])))
    out = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    kept = out["scores"][:, 0] >= threshold
    return squares[kept].astype(np.float32), {name: values[kept] for name, values in out.items()}


def _channels_first(images: Image) -> Image:
    """(N, H, W, 3) images as the networks take them: (N, 3, H, W), in the same memory."""
    return np.moveaxis(images, 3, 1)
