# SPDX-License-Identifier: Apache-2.0
"""Loss of the decision network on a batch of crops."""

import torch
from torch import Tensor
from torch.nn import functional

from training.mask_data import LABELS
from training.two_stage.decision_crops import Crops
from training.two_stage.training_settings import DecisionSettings
from training.two_stage.view_geometry import efficient_overlap_loss, overlaps

QUALITY = (0.35, 0.65)
"""Range of the overlap of a predicted box with the face that is mapped to score targets 0 to 1, so
that better boxes get higher scores."""


def predicted_boxes(offsets: Tensor) -> Tensor:
    """Convert (B, 4) offsets of the decision loss, from the crop's edges, to boxes relative to the
    crop's side."""
    return offsets + offsets.new_tensor([0.0, 0.0, 1.0, 1.0])


def decision_loss(
    outputs: dict[str, Tensor],
    crops: Crops,
    settings: DecisionSettings,
    progress: float,
) -> Tensor:
    """Compute the decision network's loss on a batch of crops.

    Args:
        outputs: the network's outputs, see `OUTPUTS`.
        crops: the crops' targets.
        settings: weights of the loss terms.
        progress: fraction of the training that is done.
    """
    boxes = predicted_boxes(outputs["offsets"])
    certain = crops.is_face.float()
    if progress >= settings.quality_from:
        overlap = overlaps(boxes.detach()[:, None], crops.boxes[:, None])[:, 0, 0]
        quality = ((overlap - QUALITY[0]) / (QUALITY[1] - QUALITY[0])).clamp(0.05, 1)
        certain = torch.where(crops.box_weight > 0, certain * quality, certain)
    score = functional.binary_cross_entropy_with_logits(
        outputs["scores"][:, 0], certain, reduction="none"
    )
    loss = settings.score_weight * _mean(score, crops.score_weight)

    placed = efficient_overlap_loss(boxes, crops.boxes)
    near = functional.smooth_l1_loss(boxes, crops.boxes, reduction="none", beta=0.05).sum(1)
    loss = loss + settings.box_weight * _mean(placed + 2 * near, crops.box_weight)

    points = outputs["landmarks"].unflatten(1, (2, 5)).transpose(1, 2)
    known = crops.landmarks.isfinite().all(2).all(1).float()
    wanted = crops.landmarks.nan_to_num(0.0)
    misplaced = functional.smooth_l1_loss(points, wanted, reduction="none", beta=0.02).sum((1, 2))
    loss = loss + settings.landmark_weight * _mean(misplaced, known)

    smoothing = settings.label_smoothing
    one_hot = functional.one_hot(crops.labels.clamp(min=0), len(LABELS)).float()
    targets = (1 - smoothing) * one_hot + smoothing / len(LABELS)
    share = settings.teacher_share
    targets = (1 - share) * targets + share * crops.taught
    label = functional.cross_entropy(outputs["labels"], targets, reduction="none")
    return loss + settings.label_weight * _mean(label, crops.label_weight)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)
