# SPDX-License-Identifier: Apache-2.0
"""Harvest the proposal network's output on the training photographs: framed faces, and false
proposals (hard negatives)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.two_stage.image_store import NOTHING, ImageStore, cut_views, levels_for
from training.two_stage.photographs import IGNORE
from training.two_stage.proposal_network import ProposalNetwork, decode_boxes, make_priors
from training.two_stage.view_geometry import intersections, overlaps, view_matrices

FACE_OVERLAP, BACKGROUND_OVERLAP = 0.4, 0.25
"""Minimum overlap of a box with a face that it shows, and maximum overlap of a box without one."""

IGNORED_SHARE = 0.3
"""Fraction of a box inside an ignored box from which it counts neither as face nor as
background."""

BACKGROUND = -1
UNCLEAR = -2

VIEW_SIDE = 640
SCALES = (0.5, 1.0, 2.0)
"""Photograph pixels per view pixel; what does not fit into the view is cut off."""

MOST_PROPOSALS = 80
"""Maximum number of proposals per view."""


@dataclass(frozen=True)
class Proposals:
    """Harvested proposals: M boxes in images of a store.

    Attributes:
        images: (M,) index of the image.
        boxes: (M, 4) xmin, ymin, xmax, ymax in image pixels.
        faces: (M,) index of the face in the image that the box shows, or `BACKGROUND`.
    """

    images: Tensor
    boxes: Tensor
    faces: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def chosen(self, rows: Tensor) -> Proposals:
        """Select rows of the harvested proposals."""
        return Proposals(self.images[rows], self.boxes[rows], self.faces[rows])


@torch.no_grad()
def harvest(
    network: ProposalNetwork,
    store: ImageStore,
    candidates: Tensor,
    *,
    threshold: float,
    doubtful: float,
    smallest: int,
    batch_size: int = 16,
) -> Proposals:
    """Harvest proposals: run the proposal network on images of a store.

    Args:
        network: the network in evaluation mode, on the store's device.
        store: the images.
        candidates: (K,) indices of the images.
        threshold: score threshold.
        doubtful: score at which an unlabelled box in a photograph with faces may show an unlabelled
            face.
        smallest: minimum shorter side of a box in pixels.
        batch_size: images per batch.
    """
    device = store.pixels.device
    priors = make_priors(VIEW_SIDE, VIEW_SIDE, device)
    parts = []
    for scale in SCALES:
        for images in candidates.split(batch_size):
            size = store.sizes[images, 0].float()
            scales = torch.full((len(images),), scale, device=device)
            upright = torch.zeros_like(scales)
            matrices = view_matrices(size / 2, scales, upright, upright.bool(), VIEW_SIDE)
            pixels = cut_views(store, images, matrices, levels_for(scales), VIEW_SIDE)
            outputs = network(pixels)
            scores = (outputs["cls"].sigmoid() * outputs["obj"].sigmoid()).sqrt()[..., 0]
            scores, cells = scores.topk(MOST_PROPOSALS, dim=1)
            boxes = decode_boxes(outputs["bbox"], priors)
            boxes = boxes.gather(1, cells[..., None].expand(-1, -1, 4)) * scale
            boxes = boxes + matrices[:, None, :, 2].repeat(1, 1, 2)
            faces = judge(boxes, store.boxes[images], store.kinds[images])
            crowd = (store.kinds[images] != NOTHING).any(1)[:, None]
            unlabelled = (faces == BACKGROUND) & crowd & (scores >= doubtful)
            faces = torch.where(unlabelled, UNCLEAR, faces)
            large = (boxes[..., 2:] - boxes[..., :2]).amin(-1) >= smallest
            row, column = torch.nonzero(
                (scores >= threshold) & large & (faces != UNCLEAR), as_tuple=True
            )
            parts.append((images[row], boxes[row, column], faces[row, column]))
    return Proposals(*(torch.cat(part) for part in zip(*parts, strict=True)))


def judge(boxes: Tensor, known: Tensor, kinds: Tensor) -> Tensor:
    """Judge harvested proposals: match (B, N, 4) boxes with (B, G, 4) labelled ones: (B, N) index
    of the face, or one of the constants above."""
    is_face = ((kinds >= 0) & (kinds < IGNORE))[:, None]
    overlap = overlaps(boxes, known).masked_fill((kinds == NOTHING)[:, None], 0)
    best, face = overlap.masked_fill(~is_face, 0).max(2)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1).clamp(min=1e-6)
    inside = intersections(boxes, known) / area[..., None]
    ignored = inside.masked_fill((kinds != IGNORE)[:, None], 0).amax(2) >= IGNORED_SHARE
    none = (overlap.amax(2) < BACKGROUND_OVERLAP) & ~ignored
    shown = torch.where(none, BACKGROUND, UNCLEAR)
    return torch.where(best >= FACE_OVERLAP, face, shown)
