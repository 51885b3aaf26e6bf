# SPDX-License-Identifier: Apache-2.0
"""The two-stage cascade: one pass over the frame proposes boxes; one crop per proposal gives the
face and its label.

It is a multi-task cascaded convolutional network in the sense of Zhang et al., 2016: a fully
convolutional network proposes; a second one takes a crop of each proposal and outputs score, box
regression, landmarks and, as a further task, the mask label. `docs/explanation/cascade.md` lists
the differences from the paper.
"""

import json
from collections.abc import Mapping

import numpy as np

from mask_detector_ros.errors import ModelError
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import (
    FloatArray,
    bbox_regression,
    intersection_over_union,
    non_max_suppression,
)
from mask_detector_ros.imaging.crops import cut_squares, square_slices
from mask_detector_ros.imaging.image_pyramid import Image, ImagePyramid
from mask_detector_ros.inference.session import (
    Array,
    Session,
    require_finite,
    require_probabilities,
)
from mask_detector_ros.label_roles import read_labels
from mask_detector_ros.mtcnn.candidate_budget import Overrun
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.input_tiles import input_tiles
from mask_detector_ros.mtcnn.two_stage_proposals import (
    MAX_CANDIDATES,
    PROPOSAL_OVERLAP,
    best_scored,
    decode_cells,
    letterboxes,
)

FACE_OVERLAP = 0.4
"""Intersection over union above which the worse of two faces is suppressed."""

STEADY_OVERLAP = 0.6
"""If a face overlaps its last box by less than this, a second crop is cut around its new box. With
a turning camera one face in a hundred is lost with the second crop, eight without."""


NEAR_SCORE = 0.84
"""Stands for the score of the proposal network near a face of the previous frame."""

TINY = 1e-6
"""Added to a denominator that may be 0; half precision can still represent it."""


def combine_scores(proposed: FloatArray, decided: FloatArray) -> FloatArray:
    """Combine the scores of both stages: (N,) probabilities with the mean of their logits, in which
    the proposal network counts twice.

    Photographs unlike those of the training mislead the decision network more than the proposal
    network, which keeps what YuNet learned; see models/mtcnn_two_stage.md.
    """
    face = np.cbrt(proposed * proposed * decided)
    other = np.cbrt((1 - proposed) * (1 - proposed) * (1 - decided))
    combined: FloatArray = face / (face + other + np.float32(TINY))
    return combined


class TwoStageCascade:
    """Proposal network and decision network over two sessions.

    Attributes:
        label_names: the decision network's labels, in the order of its output.
        label_roles: role of each label, see `mask_detector_ros.label_roles`.
        side: side of its crops in pixels.
        sessions: sessions of both networks, in order.
        overrun: the last frame's candidates beyond `max_candidates`; None if it had no more.

    Raises:
        ModelError: a session's network does not fit its stage.
    """

    def __init__(self, proposal: Session, decision: Session) -> None:
        self.sessions = (proposal, decision)
        self.overrun: Overrun | None = None
        self._proposal, self._decision = proposal, decision
        try:
            self._strides = tuple(int(s) for s in json.loads(proposal.metadata["strides"]))
            self._smallest = float(proposal.metadata["smallest_face"])
            self._largest = float(proposal.metadata["largest_face"])
        except (KeyError, ValueError, TypeError) as error:
            raise _misfit(proposal, "strides, smallest_face and largest_face", error) from error
        try:
            self.label_names, self.label_roles = read_labels(decision.metadata)
            self._margin = float(decision.metadata["margin"])
            if not 0 <= self._margin < np.inf:
                raise ValueError("margin must be 0 or more")
        except (KeyError, ValueError, TypeError) as error:
            raise _misfit(decision, "labels and margin", error) from error
        levels = [f"{kind}_{stride}" for kind in ("scores", "boxes") for stride in self._strides]
        proposal.require({"images": (-1, -1, -1, 3)}, tuple(levels), np.uint8)
        self.side = decision.inputs[0].shape[1] if len(decision.inputs[0].shape) == 4 else 0
        wanted = ("scores", "offsets", "landmarks", "probabilities")
        decision.require({"crops": (-1, self.side, self.side, 3)}, wanted, np.uint8)

    def __call__(
        self,
        image: Image | ImagePyramid,
        settings: DetectionSettings,
        near: FloatArray | None = None,
    ) -> Faces:
        """Find and label the faces of a (H, W, 3) BGR image, best score first.

        Args:
            image: the frame, or its pyramid.
            settings: the first of `detection_thresholds` applies to proposals, the last to the
                combined scores of both stages.
            near: (N, 4) boxes of the previous frame; searches only near them.
        """
        pyramid = ImagePyramid.of(image)
        proposal, _, decision = settings.detection_thresholds
        if near is None:
            faces = self.decide(pyramid, *self.propose(pyramid, settings, proposal), decision)
        else:
            self.overrun = Overrun.of(min(len(near), settings.max_candidates), len(near))
            faces = self.decide_near(pyramid, near[: settings.max_candidates], decision)
        return faces[: settings.max_faces] if settings.max_faces else faces

    def propose(
        self, image: ImagePyramid, settings: DetectionSettings, threshold: float
    ) -> tuple[FloatArray, FloatArray]:
        """Run stage one of the two-stage cascade: (N, 4) proposals and their (N,) scores, best
        first, at most `max_candidates`."""
        height, width = image[0].shape[:2]
        boxes, scores = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        cut = 0
        for letterbox in letterboxes(
            height, width, settings.min_face_size, self._smallest, self._largest
        ):
            drawn = letterbox.draw(image)
            for tile in input_tiles(*letterbox.input_shape, self._largest):
                part = drawn[:, tile.top : tile.bottom, tile.left : tile.right]
                out = self._proposal.run(images=part)
                found, chances = decode_cells(out, self._strides, part.shape[2], threshold)
                if len(found) == MAX_CANDIDATES:
                    levels = [out[f"scores_{stride}"] for stride in self._strides]
                    cut += sum(np.count_nonzero(level >= threshold) for level in levels)
                    cut -= len(found)
                found, own = tile.to_input(found)
                boxes.append(letterbox.to_frame(found))
                scores.append(chances[own])
        candidates, chances = best_scored(
            np.concatenate(boxes), np.concatenate(scores), MAX_CANDIDATES
        )
        cut += sum(map(len, scores)) - len(chances)
        kept = non_max_suppression(candidates, chances, PROPOSAL_OVERLAP)
        limit = settings.max_candidates
        self.overrun = Overrun.of(min(limit, len(kept)), len(kept) + cut)
        return candidates[kept[:limit]], chances[kept[:limit]]

    def decide(
        self, image: ImagePyramid, boxes: FloatArray, scores: FloatArray, threshold: float
    ) -> Faces:
        """Run stage two of the two-stage cascade: the faces among (N, 4) proposals with (N,)
        scores, labelled, best combined score first; boxes are clipped to the image."""
        if not len(boxes):
            return Faces.empty(self.label_names, self.label_roles)
        squares, out = self._run_on_crops(image, boxes, self._margin)
        out["scores"] = combine_scores(scores, out["scores"])
        return self._to_faces(image, squares, out, threshold)

    def decide_near(self, image: ImagePyramid, boxes: FloatArray, threshold: float) -> Faces:
        """Find the faces that were at (N, 4) boxes in the previous frame with stage two alone."""
        squares, out = self._run_on_crops(image, boxes, self._margin)
        moved_to = bbox_regression(squares, out["offsets"])
        overlaps = np.diagonal(intersection_over_union(boxes, moved_to))
        moved = np.flatnonzero(overlaps < STEADY_OVERLAP)
        if len(moved):
            squares[moved], again = self._run_on_crops(image, moved_to[moved], self._margin)
            for name, values in again.items():
                out[name][moved] = values
        near = np.full(len(boxes), NEAR_SCORE, np.float32)
        out["scores"] = combine_scores(near, out["scores"])
        return self._to_faces(image, squares, out, threshold)

    def _to_faces(
        self,
        image: ImagePyramid,
        squares: FloatArray,
        out: Mapping[str, Array],
        threshold: float,
    ) -> Faces:
        # A proposal without area has an empty square and a black crop.
        has_area = squares[:, 2] > squares[:, 0]
        kept = np.flatnonzero(has_area & (out["scores"] >= threshold))
        height, width = image[0].shape[:2]
        limits = np.array([width, height, width, height], np.float32)
        boxes = bbox_regression(squares[kept], out["offsets"][kept])
        boxes = np.clip(boxes, 0, limits)
        best = non_max_suppression(boxes, out["scores"][kept], FACE_OVERLAP)
        kept = kept[best]
        corner, end = squares[kept, None, :2], squares[kept, None, 2:]
        return Faces(
            boxes[best],
            out["scores"][kept],
            corner + (end - corner) * out["landmarks"][kept],
            out["probabilities"][kept],
            self.label_names,
            label_roles=self.label_roles,
        )

    def label(self, image: Image | ImagePyramid, faces: Faces, margin: float = -1.0) -> Faces:
        """Label faces of known boxes with stage two; a negative margin means the network's own."""
        margin = self._margin if margin < 0 else margin
        _, out = self._run_on_crops(ImagePyramid.of(image), faces.boxes, margin)
        return faces.with_probabilities(out["probabilities"], self.label_names, self.label_roles)

    def _run_on_crops(
        self, image: ImagePyramid, boxes: FloatArray, margin: float
    ) -> tuple[FloatArray, dict[str, Array]]:
        """The squares around the boxes, and the decision network's outputs for them."""
        squares = square_slices(boxes, margin, self.side)
        limit = self._decision.batch_limit
        batches = [
            self._decision.run(crops=cut_squares(image, some, self.side))
            for some in np.split(squares, range(limit, len(squares), limit))
        ]
        out = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        for name in ("scores", "probabilities"):
            require_probabilities(out[name], self._decision.name, name)
        for name in ("offsets", "landmarks"):
            require_finite(out[name], self._decision.name, name)
        return squares.astype(np.float32), out


def _misfit(session: Session, what: str, error: Exception) -> ModelError:
    return ModelError(
        f"{session.name} lacks {what} in its ONNX metadata ({error!r}); give the file that was"
        " exported for this stage (see models/README.md)"
    )
