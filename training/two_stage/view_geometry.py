# SPDX-License-Identifier: Apache-2.0
"""Geometry of training views: transforms between views and their images, for boxes and points."""

import math

import torch
from torch import Tensor


def view_matrices(
    centres: Tensor, scale: Tensor, angle: Tensor, mirrored: Tensor, side: int
) -> Tensor:
    """(B, 2, 3) affine transforms from training view to image, for `cut_views`.

    Args:
        centres: (B, 2) image points at the views' centres.
        scale: (B,) image pixels per view pixel.
        angle: (B,) rotation of the view in radians.
        mirrored: (B,) whether the view is mirrored left to right.
        side: side of the views in pixels.
    """
    cos, sin = angle.cos() * scale, angle.sin() * scale
    flip = 1 - 2 * mirrored.float()
    linear = torch.stack(
        [torch.stack([cos * flip, -sin], dim=1), torch.stack([sin * flip, cos], dim=1)], dim=1
    )
    shift = centres[..., None] - linear.sum(2, keepdim=True) * (side / 2)
    return torch.cat([linear, shift], dim=2)


def points_in_views(points: Tensor, matrices: Tensor) -> Tensor:
    """Transform (B, ..., 2) image points to points of training views."""
    count = len(points)
    inverse = torch.linalg.inv(matrices[:, :, :2])
    moved = points.reshape(count, -1, 2) - matrices[:, None, :, 2]
    return (moved @ inverse.transpose(1, 2)).reshape(points.shape)


def boxes_in_views(boxes: Tensor, matrices: Tensor) -> Tensor:
    """Transform (B, G, 4) image boxes to boxes of training views; a rotated face counts as a
    rotated ellipse."""
    centres = points_in_views((boxes[..., :2] + boxes[..., 2:]) / 2, matrices)
    half = (boxes[..., 2:] - boxes[..., :2]) / 2
    inverse = torch.linalg.inv(matrices[:, :, :2])
    reach = (half**2 @ (inverse**2).transpose(1, 2)).clamp(min=0).sqrt()
    return torch.cat([centres - reach, centres + reach], dim=-1)


def mirrored_landmarks(landmarks: Tensor, mirrored: Tensor) -> Tensor:
    """Swap left and right of (B, ..., 5, 2) landmarks in mirrored training views."""
    swapped = landmarks[..., [1, 0, 2, 4, 3], :]
    return torch.where(mirrored.reshape(-1, *(1,) * (landmarks.ndim - 1)), swapped, landmarks)


def draw_angles(count: int, slight: float, strong: float, device: torch.device) -> Tensor:
    """Draw (count,) rotation angles of training views in radians: mostly 0, a share slightly
    rotated, a share up to 45 degrees.

    Args:
        count: number of angles.
        slight: share drawn from a normal distribution of 10 degrees.
        strong: share drawn uniformly up to 45 degrees.
        device: device of the result.
    """
    draw = torch.rand(count, device=device)
    little = torch.randn(count, device=device) * math.radians(10)
    far = (torch.rand(count, device=device) * 2 - 1) * math.radians(45)
    angle = torch.where(draw < slight, little, 0.0)
    return torch.where(draw > 1 - strong, far, angle)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """(B, N, M) intersection over union of (B, N, 4) and (B, M, 4) boxes in views."""
    both = intersections(boxes, others)
    total = areas(boxes)[:, :, None] + areas(others)[:, None]
    return both / (total - both).clamp(min=1e-6)


def intersections(boxes: Tensor, others: Tensor) -> Tensor:
    """(B, N, M) shared areas of (B, N, 4) and (B, M, 4) boxes in views."""
    low = torch.maximum(boxes[:, :, None, :2], others[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], others[:, None, :, 2:])
    return (high - low).clamp(min=0).prod(-1)


def areas(boxes: Tensor) -> Tensor:
    """(...) areas of (..., 4) boxes in views, 0 for an inverted box."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def efficient_overlap_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Geometric loss of boxes in views: (N,) 1 - EIoU of (N, 4) boxes (Zhang et al., 2021,
    https://arxiv.org/abs/2101.08158)."""
    low = torch.maximum(boxes[:, :2], targets[:, :2])
    high = torch.minimum(boxes[:, 2:], targets[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    size, wanted = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    union = size.prod(1) + wanted.prod(1) - both
    hull = torch.maximum(boxes[:, 2:], targets[:, 2:]) - torch.minimum(boxes[:, :2], targets[:, :2])
    between = (boxes[:, :2] + boxes[:, 2:] - targets[:, :2] - targets[:, 2:]) / 2
    far = between.square().sum(1) / hull.square().sum(1).clamp(min=1e-6)
    shape = ((size - wanted).square() / hull.square().clamp(min=1e-6)).sum(1)
    return 1 - both / union.clamp(min=1e-6) + far + shape
