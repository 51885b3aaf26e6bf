# SPDX-License-Identifier: Apache-2.0
"""Assign cells of the proposal network to faces, and compute the loss."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.mask_augmentation import WITHOUT_MASK
from training.two_stage.image_store import NOTHING
from training.two_stage.proposal_network import decode_boxes
from training.two_stage.proposal_views import Views
from training.two_stage.training_settings import ProposalSettings
from training.two_stage.view_geometry import efficient_overlap_loss, intersections, overlaps

CENTRE_RADIUS, CANDIDATES, OVERLAP_COST, OUTSIDE_COST = 2.5, 10, 3.0, 1e5
"""Constants of SimOTA, as in YuNet's training: radius in strides around a face's centre within
which cells may be assigned to it; number of best overlaps whose sum gives the number of assigned
cells; weights of the cost."""

DOUBTFUL_SCORE, KNOWN_OVERLAP = 0.75, 0.3
"""Score of the published network, and maximum overlap with a labelled face, at which the labels may
lack a face; such cells are ignored."""

IGNORED_SHARE = 0.5
"""Fraction of a predicted box inside ignored boxes from which its cell is ignored."""


@dataclass(frozen=True)
class Assignment:
    """The face assigned to each cell, for the proposal loss.

    Attributes:
        face: (B, P) index of the face, -1 for background.
        overlap: (B, P) overlap of the predicted box with that face.
        weight: (B, P) weight of the cell in the objectness loss; 0 if ignored.
    """

    face: Tensor
    overlap: Tensor
    weight: Tensor


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, priors: Tensor, views: Views) -> Assignment:
    """Assign the proposal network's cells to faces for its loss, by SimOTA (Ge et al., "YOLOX",
    2021, https://arxiv.org/abs/2107.08430) on a batch.

    Args:
        scores: (B, P) predicted scores.
        boxes: (B, P, 4) predicted boxes.
        priors: (P, 3), see `make_priors`.
        views: the views with their faces.
    """
    stride = priors[:, 2, None]
    centres = priors[:, :2] + stride / 2
    faces = views.boxes
    is_face = (views.kinds != NOTHING)[:, None]
    x, y = centres[None, :, 0, None], centres[None, :, 1, None]
    x1, y1, x2, y2 = faces[:, None].unbind(-1)
    in_box = (x > x1) & (x < x2) & (y > y1) & (y < y2)
    reach = CENTRE_RADIUS * stride[None]
    in_centre = ((x - (x1 + x2) / 2).abs() < reach) & ((y - (y1 + y2) / 2).abs() < reach)
    candidate = (in_box | in_centre) & is_face
    candidate = candidate.any(2, keepdim=True) & is_face

    overlap = overlaps(boxes, faces) * candidate
    score_cost = -scores.clamp(min=1e-7).log()[..., None]
    cost = score_cost - OVERLAP_COST * (overlap + 1e-7).log()
    cost = cost + OUTSIDE_COST * ~(in_box & in_centre)
    cost = cost.masked_fill(~candidate, float("inf"))
    count = overlap.topk(min(CANDIDATES, overlap.shape[1]), dim=1).values.sum(1).int().clamp(min=1)
    best, place = cost.topk(min(CANDIDATES, cost.shape[1]), dim=1, largest=False)
    rank = torch.arange(best.shape[1], device=cost.device)[None, :, None]
    taken = (rank < count[:, None]) & best.isfinite()
    answers = torch.zeros_like(candidate).scatter(1, place, taken)
    # A cell claimed by two faces is assigned to the cheaper one.
    cheapest = cost.masked_fill(~answers, float("inf")).argmin(2)
    face = torch.where(answers.any(2), cheapest, -1)
    own = overlap.gather(2, face.clamp(min=0)[..., None])[..., 0]

    ignored = views.ignored.nan_to_num(-1.0)
    left, top, right, bottom = ignored[:, None].unbind(-1)
    hidden = ((x > left) & (x < right) & (y > top) & (y < bottom)).any(2)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1).clamp(min=1e-6)
    inside = intersections(boxes, ignored).amax(2) / area
    weight = ((face >= 0) | ~(hidden | (inside > IGNORED_SHARE))).float()
    return Assignment(face, own, weight)


def proposal_loss(
    outputs: dict[str, Tensor],
    published: dict[str, Tensor],
    priors: Tensor,
    views: Views,
    settings: ProposalSettings,
) -> Tensor:
    """Compute the proposal network's loss on a batch.

    Args:
        outputs: the network's outputs, see `ProposalNetwork`.
        published: outputs of the published network for the same views.
        priors: (P, 3), see `make_priors`.
        views: the views with their targets.
        settings: weights of the loss terms.
    """
    boxes = decode_boxes(outputs["bbox"], priors)
    cls, obj = outputs["cls"][..., 0], outputs["obj"][..., 0]
    scores = (cls.detach().sigmoid() * obj.detach().sigmoid()).sqrt()
    assigned = assign(scores, boxes.detach(), priors, views)
    positive = assigned.face >= 0
    # Sums over masked cells keep shapes fixed, which keeps the device busy.
    mask = positive.float()
    total = mask.sum().clamp(min=1)
    face = assigned.face.clamp(min=0)
    targets = views.boxes.gather(1, face[..., None].expand(-1, -1, 4))
    weight = assigned.weight * ~(_unlabelled(published, priors, views) & ~positive)
    objectness = functional.binary_cross_entropy_with_logits(obj, mask, reduction="none")
    quality = functional.binary_cross_entropy_with_logits(cls, assigned.overlap, reduction="none")
    row, cell = torch.nonzero(positive, as_tuple=True)
    placed = efficient_overlap_loss(boxes[row, cell], targets[row, cell]).sum()
    loss = (objectness * weight).sum() + (quality * mask).sum()
    loss = loss + settings.box_weight * placed

    points = functional.smooth_l1_loss(
        outputs["kps"][row, cell], published["kps"][row, cell], reduction="none", beta=1 / 9
    )
    loss = loss + settings.landmark_weight * points.mean(1).sum()
    bare = mask * (views.kinds.gather(1, face) == WITHOUT_MASK)
    for name in ("cls", "obj"):
        wanted = published[name][..., 0].sigmoid()
        kept = functional.binary_cross_entropy_with_logits(
            outputs[name][..., 0], wanted, reduction="none"
        )
        loss = loss + settings.bare_weight * (kept * bare).sum()
    return loss / total


@torch.no_grad()
def _unlabelled(published: dict[str, Tensor], priors: Tensor, views: Views) -> Tensor:
    """(B, P) whether the published network finds a face that the labels lack."""
    scores = (published["cls"].sigmoid() * published["obj"].sigmoid()).sqrt()[..., 0]
    is_face = (views.kinds != NOTHING)[:, None]
    overlap = overlaps(decode_boxes(published["bbox"], priors), views.boxes) * is_face
    # Photographs without labels are known to contain no face.
    return (scores >= DOUBTFUL_SCORE) & (overlap.amax(2) < KNOWN_OVERLAP) & is_face.any(2)
