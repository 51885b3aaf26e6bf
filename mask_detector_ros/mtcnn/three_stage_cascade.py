# SPDX-License-Identifier: Apache-2.0
"""The three-stage cascade of 2016: P-Net proposes, R-Net refines, O-Net decides."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import (
    FloatArray,
    bbox_regression,
    best_scores,
    merge_boxes,
    non_max_suppression,
    suppress_contained,
)
from mask_detector_ros.imaging.crops import cut_squares, square_slices
from mask_detector_ros.imaging.image_pyramid import Image, ImagePyramid
from mask_detector_ros.inference.session import (
    Array,
    Session,
    require_finite,
    require_probabilities,
)
from mask_detector_ros.inference.thread_pool import ThreadPool
from mask_detector_ros.mtcnn.candidate_budget import Overrun
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.near_search import draw_near
from mask_detector_ros.mtcnn.pnet_proposals import (
    Proposals,
    join_proposals,
    proposals_in_tile,
    suppress_neighbours,
)
from mask_detector_ros.mtcnn.pnet_pyramid import PackedPyramid, lay_out, pyramid_shapes

MOVED_OVERLAP, LAST_OVERLAP = 0.6, 0.7
"""Suppression thresholds: intersection over union for the boxes that P-Net and R-Net have moved;
intersection over the smaller area for faces, as in the paper's code. The paper suppresses before
boxes move. After they move, boxes of one face lie together, and fewer crops find more faces
(docs/measured/accuracy/suppression.md)."""

RNET_SIDE, ONET_SIDE = 24, 48

MIN_CROPS_PER_THREAD = 4
"""Minimum number of crops per thread."""

TILE_BUDGET, SUPPRESSION_BUDGET = 4, 2
"""Maximum number of proposals per tile and in suppression, as multiples of `max_candidates`, since
both stages of suppression remove many. In 500 photographs with up to 34 faces the maxima were 1072
per tile, 1050 in suppression and 752 candidates; the 99th percentiles were 512, 360 and 294."""

MAX_NEAR = 2000
"""Maximum number of boxes for near-face search."""


class Cascade:
    """MTCNN, the three-stage cascade over three sessions.

    Attributes:
        overrun: the last frame's candidates beyond `max_candidates`; None if it had no more.

    Raises:
        ModelError: a session's network does not fit its stage.
    """

    def __init__(self, pnet: Session, rnet: Session, onet: Session) -> None:
        pnet.require({"images": (-1, 3, -1, -1)}, ("scores", "offsets"))
        rnet.require({"images": (-1, 3, RNET_SIDE, RNET_SIDE)}, ("scores", "offsets"))
        onet.require({"images": (-1, 3, ONET_SIDE, ONET_SIDE)}, ("scores", "offsets", "landmarks"))
        self.pnet, self.rnet, self.onet = pnet, rnet, onet
        self.overrun: Overrun | None = None
        self._pool = ThreadPool(min(session.concurrency for session in (pnet, rnet, onet)))

    def __call__(
        self,
        image: Image | ImagePyramid,
        settings: DetectionSettings,
        near: FloatArray | None = None,
    ) -> Faces:
        """Find the faces of a (H, W, 3) BGR image, best score first, without labels.

        With `near`, (N, 4) boxes, search only near them for faces of about their size.
        """
        proposal, refinement, decision = settings.detection_thresholds
        pyramid = ImagePyramid.of(image)
        if near is None:
            boxes = self.propose(pyramid, settings, proposal)
        else:
            boxes = self.propose_near(pyramid, near[:MAX_NEAR], proposal, settings.max_candidates)
        boxes = self.refine(pyramid, boxes, refinement)
        faces = self.decide(pyramid, boxes, decision)
        return faces[: settings.max_faces] if settings.max_faces else faces

    def propose(
        self, image: ImagePyramid, settings: DetectionSettings, threshold: float
    ) -> FloatArray:
        height, width = image[0].shape[:2]
        shapes = pyramid_shapes(height, width, settings.min_face_size, settings.pyramid_factor)
        packed = lay_out(shapes, self._pool.count)
        drawn = self._pool.map(lambda packing: packing.draw(image), packed)
        limit = settings.max_candidates
        return self._choose_proposals(self._scan(packed, drawn, threshold, limit), limit)

    def propose_near(
        self, image: ImagePyramid, near: FloatArray, threshold: float, limit: int
    ) -> FloatArray:
        packed, drawn, corners = draw_near(image, near, self._pool.count)
        found = [
            (replace(some, boxes=some.boxes + np.tile(corners[some.levels], 2)), dropped)
            for some, dropped in self._scan(packed, drawn, threshold, limit)
        ]
        return self._choose_proposals(found, limit)

    def _scan(
        self,
        packed: Sequence[PackedPyramid],
        drawn: Sequence[tuple[Image, FloatArray]],
        threshold: float,
        limit: int,
    ) -> list[tuple[Proposals, int]]:
        """P-Net's proposals in each tile of the given packed pyramids (as drawn by
        `PackedPyramid.draw`), and the number dropped in each tile. Levels are numbered across all
        pyramids."""
        first_levels = [0, *accumulate(len(packing.shapes) for packing in packed)]

        def scan(tile: tuple[int, int, int]) -> tuple[Proposals, int]:
            number, top, left = tile
            packing, (pixels, scales) = packed[number], drawn[number]
            (rows, _), (columns, _) = packing.tiles, packing.columns
            shown = pixels[None, top : top + rows, left : left + columns]
            out = self.pnet.run(images=_channels_first(shown))
            maps, most = (out["scores"][0, 0], out["offsets"][0]), TILE_BUDGET * limit
            found, dropped = proposals_in_tile(packing, scales, top, left, *maps, threshold, most)
            return replace(found, levels=found.levels + first_levels[number]), dropped

        places = [
            (number, top, left)
            for number, packing in enumerate(packed)
            for top in packing.tiles[1]
            for left in packing.columns[1]
        ]
        return self._pool.map(scan, places)

    def _choose_proposals(self, found: list[tuple[Proposals, int]], limit: int) -> FloatArray:
        """At most `limit` boxes from all tiles, best first."""
        self.overrun = None
        if not found:
            return np.empty((0, 4), np.float32)
        every = join_proposals([some for some, _ in found])
        require_probabilities(every.scores, self.pnet.name, "scores")
        kept = suppress_neighbours(every.levels, every.rows, every.columns, every.scores)
        best = kept[best_scores(every.scores[kept], SUPPRESSION_BUDGET * limit)]
        dropped = sum(count for _, count in found) + len(kept) - len(best)
        boxes = self.move_proposals(every.boxes[best], every.offsets[best], every.scores[best])
        self.overrun = Overrun.of(min(limit, len(boxes)), len(boxes) + dropped)
        return boxes[:limit]

    def move_proposals(
        self, boxes: FloatArray, offsets: FloatArray, scores: FloatArray
    ) -> FloatArray:
        """Move P-Net's proposals of the three-stage cascade by its offsets: (M, 4) boxes, best
        first."""
        boxes = bbox_regression(boxes, offsets)
        return boxes[non_max_suppression(boxes, scores, MOVED_OVERLAP)]

    def refine(self, image: ImagePyramid, boxes: FloatArray, threshold: float) -> FloatArray:
        boxes, out = self._run_on_crops(self.rnet, image, boxes, RNET_SIDE, threshold)
        return self.move_refined(boxes, out["offsets"], out["scores"][:, 0])

    def move_refined(
        self, boxes: FloatArray, offsets: FloatArray, scores: FloatArray
    ) -> FloatArray:
        """Move the boxes that R-Net accepted in the three-stage cascade by its offsets: (M, 4)
        boxes, best first."""
        return merge_boxes(bbox_regression(boxes, offsets), scores, MOVED_OVERLAP)

    def decide(self, image: ImagePyramid, boxes: FloatArray, threshold: float) -> Faces:
        boxes, out = self._run_on_crops(self.onet, image, boxes, ONET_SIDE, threshold)
        corner, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        # The network outputs five x, then five y, as fractions of the crop.
        for name in ("offsets", "landmarks"):
            require_finite(out[name], self.onet.name, name)
        landmarks = corner + sides * out["landmarks"].reshape(-1, 2, 5).transpose(0, 2, 1)
        faces = Faces(bbox_regression(boxes, out["offsets"]), out["scores"][:, 0], landmarks)
        return faces[suppress_contained(faces.boxes, faces.scores, LAST_OVERLAP)]

    def _run_on_crops(
        self, session: Session, image: ImagePyramid, boxes: FloatArray, side: int, threshold: float
    ) -> tuple[FloatArray, dict[str, Array]]:
        """Run a stage on squares around the boxes; keep those that reach the threshold."""
        # In whole pixels, as cropped: the network's offsets refer to the crop.
        squares = square_slices(boxes, 0.0, side)

        def run(some: NDArray[np.int64]) -> dict[str, Array]:
            return session.run(images=_channels_first(cut_squares(image, some, side)))

        batches = self._pool.map(run, self._batches(squares, session.batch_limit))
        out = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        require_probabilities(out["scores"], session.name, "scores")
        kept = out["scores"][:, 0] >= threshold
        return squares[kept].astype(np.float32), {n: values[kept] for n, values in out.items()}

    def _batches(self, squares: NDArray[np.int64], limit: int) -> list[NDArray[np.int64]]:
        """Split evenly between threads; at least one part."""
        count = len(squares)
        threads = min(self._pool.count, -(-count // MIN_CROPS_PER_THREAD))
        if threads < 2:
            return np.split(squares, range(limit, count, limit))
        return np.array_split(squares, -(-count // (limit * threads)) * threads)


def _channels_first(images: Image) -> Image:
    """View (N, H, W, 3) images as (N, 3, H, W), the networks' layout, without a copy."""
    return np.moveaxis(images, 3, 1)
