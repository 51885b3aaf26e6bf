# SPDX-License-Identifier: Apache-2.0
"""How often the faces of the training photographs are drawn: dark and turned ones more often."""

import torch
from torch import Tensor

from training.two_stage.harvest_proposals import Proposals
from training.two_stage.image_store import ImageStore, cut_views, levels_for
from training.two_stage.view_changes import LUMA
from training.two_stage.view_geometry import view_matrices

SIDE = 16
EYES = (slice(4, 9), slice(5, 11))
"""Rows and columns about the eyes in a view of `SIDE` pixels that shows the face's square."""

DARK, DIM = 70, 95
"""Mean luma about the eyes below which a face is dark, and below which it is half so."""

TURNED, NARROW = 0.35, 0.3
"""Distance of the nose from the middle of the eyes, in distances of the eyes, from which a face is
turned; distance of the eyes, in sides of the face, below which it is."""


@torch.no_grad()
def appearance_weights(
    store: ImageStore, faces: Proposals, dark_weight: float, turned_weight: float
) -> Tensor:
    """Weights of faces in the draw, by their looks.

    Args:
        store: the photographs.
        faces: M faces in them, with their own boxes.
        dark_weight: weight of a dark face; 1 is usual.
        turned_weight: weight of a turned face, and partly of one without landmarks.

    Returns:
        (M,) weights.
    """
    size = (faces.boxes[:, 2:] - faces.boxes[:, :2]).amax(1)
    still = torch.zeros_like(size)
    middle = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    matrices = view_matrices(middle, size / SIDE, still, still.bool(), SIDE)
    luma = []
    for rows in torch.arange(len(faces), device=size.device).split(1024):
        levels = levels_for(size[rows] / SIDE)
        views = cut_views(store, faces.images[rows], matrices[rows], levels, SIDE)
        pixels = views[:, :, EYES[0], EYES[1]].mean((2, 3))
        luma.append(pixels @ pixels.new_tensor(LUMA))
    light = torch.cat(luma) if luma else still
    half = 1 + (dark_weight - 1) * 0.4
    weights = torch.where(light < DARK, dark_weight, torch.where(light < DIM, half, 1.0))

    marks = store.landmarks[faces.images, faces.faces]
    apart = (marks[:, 1] - marks[:, 0]).norm(dim=1).clamp(min=1e-3)
    aside = (marks[:, 2, 0] - marks[:, :2, 0].mean(1)).abs()
    turned = (aside > TURNED * apart) | (apart < NARROW * size)
    known = marks.isfinite().all(2).all(1)
    unknown = 1 + (turned_weight - 1) * 0.6
    return weights * torch.where(known, torch.where(turned, turned_weight, 1.0), unknown)
