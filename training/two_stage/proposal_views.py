# SPDX-License-Identifier: Apache-2.0
"""Training views of photographs for the proposal network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.two_stage.image_store import NOTHING, ImageStore, cut_views, levels_for
from training.two_stage.photographs import IGNORE
from training.two_stage.training_settings import ProposalSettings
from training.two_stage.view_changes import change_light, degrade
from training.two_stage.view_geometry import (
    boxes_in_views,
    draw_angles,
    view_matrices,
)

LARGEST_FACE = 0.9
"""Maximum longer side of the face that a view is made for, relative to the view's side."""


@dataclass(frozen=True)
class Views:
    """Training views of the proposal network, with their targets.

    Attributes:
        pixels: (B, 3, S, S) float32 BGR, 0 to 255.
        boxes: (B, G, 4) boxes of the faces to find, in view pixels.
        kinds: (B, G) their labels, padded with `NOTHING`.
        ignored: (B, M, 4) boxes that are neither face nor background, padded with NaN.
    """

    pixels: Tensor
    boxes: Tensor
    kinds: Tensor
    ignored: Tensor


class ViewMaker:
    """Draws the proposal network's training views from a store, each for one face or for a
    photograph without faces."""

    def __init__(self, store: ImageStore, settings: ProposalSettings) -> None:
        self._store, self._settings = store, settings
        kinds = store.kinds
        self._rows, self._faces = torch.nonzero((kinds >= 0) & (kinds < IGNORE), as_tuple=True)
        labels = kinds[self._rows, self._faces]
        # A crowd is drawn more often than a portrait, but not in proportion to its faces.
        crowd = torch.bincount(self._rows, minlength=len(store))[self._rows].float()
        weights = crowd.rsqrt() * torch.where(
            store.painted[self._rows], settings.painted_weight, 1.0
        )
        for label, share in enumerate(settings.label_shares):
            of_label = labels == label
            total = weights[of_label].sum().clamp(min=1e-6)
            weights[of_label] *= share * (1 - settings.negative_share) / total
        self._empty = torch.nonzero((kinds == NOTHING).all(1))[:, 0]
        count = max(len(self._empty), 1)
        none = torch.full((len(self._empty),), settings.negative_share / count)
        self._weights = torch.cat([weights, none.to(weights)])

    def draw(self, count: int, side: int) -> Views:
        """Draw `count` training views of the proposal network, of `side` pixels, with torch's
        random generator."""
        store, settings = self._store, self._settings
        device = self._weights.device
        drawn = torch.multinomial(self._weights, count, replacement=True)
        has_face = drawn < len(self._rows)
        at = drawn.clamp(max=len(self._rows) - 1)
        images = self._rows[at]
        if len(self._empty):
            images = torch.where(
                has_face, images, self._empty[(drawn - len(self._rows)).clamp(min=0)]
            )
        size = store.sizes[images, 0].float()
        face = torch.where(has_face[:, None], store.boxes[images, self._faces[at]], 0.0)
        face_side = (face[:, 2:] - face[:, :2]).amax(1)

        scale = self._draw_scale(face_side, has_face, size, side)
        angle = draw_angles(count, settings.slight_turns, settings.strong_turns, device)
        mirrored = torch.rand(count, device=device) < 0.5
        middle = (face[:, :2] + face[:, 2:]) / 2
        middle = torch.where(has_face[:, None], middle, torch.rand_like(middle) * size)
        # Place the face anywhere in the view; most views are then moved back onto the photograph.
        free = (scale * side - face_side).clamp(min=0)[:, None] / 2
        centre = middle + (torch.rand(count, 2, device=device) * 2 - 1) * free
        half = (scale * side / 2)[:, None]
        inside = torch.where(size > 2 * half, centre.maximum(half).minimum(size - half), size / 2)
        keep = torch.rand(count, 1, device=device) < settings.padded_share
        reaches = (inside - middle).abs() <= (half - face_side[:, None] / 2).clamp(min=0)
        centre = torch.where(keep | ~reaches.all(1, keepdim=True), centre, inside)

        matrices = view_matrices(centre, scale, angle, mirrored, side)
        level = levels_for(scale)
        coarser = torch.rand(count, device=device) < settings.coarse_share
        level = (level + coarser.long()).clamp(max=store.offsets.shape[1] - 1)
        pixels = change_light(
            cut_views(store, images, matrices, level, side), settings.changes.grey
        )
        pixels = degrade(pixels, settings.changes)
        return Views(pixels, *self._targets(images, matrices, side))

    def _draw_scale(self, face_side: Tensor, has_face: Tensor, size: Tensor, side: int) -> Tensor:
        """(B,) image pixels per view pixel."""
        settings = self._settings
        free = _log_uniform(face_side, 1 / settings.scales[1], 1 / settings.scales[0])
        wanted = _log_uniform(face_side, settings.smallest_target, LARGEST_FACE * side)
        by_face = face_side / wanted
        scale = torch.where(torch.rand_like(face_side) < 0.5, by_face, free)
        scale = scale.maximum(face_side / (LARGEST_FACE * side))
        scale = scale.minimum(face_side / settings.smallest_target)
        scale = torch.where(has_face, scale, free)
        # Enlarge little: strong enlargement gives images that no camera makes.
        largest = (2 * size.amax(1) / side).clamp(min=0.25)
        return scale.clamp(min=0.33).minimum(largest)

    def _targets(
        self, images: Tensor, matrices: Tensor, side: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        settings = self._settings
        kinds = self._store.kinds[images]
        boxes = boxes_in_views(self._store.boxes[images], matrices)
        shown = boxes.clamp(0, side)
        extent = shown[..., 2:] - shown[..., :2]
        whole = (boxes[..., 2:] - boxes[..., :2]).prod(-1).clamp(min=1e-6)
        is_shown = (extent.amin(-1) > 0) & (kinds != NOTHING)
        clear = (extent.amin(-1) >= settings.smallest_box) & (
            extent.prod(-1) / whole >= settings.visible_share
        )
        is_face = is_shown & clear & (kinds != IGNORE)
        # Faces come first; what does not fit is ignored.
        order = is_face.long().argsort(dim=1, descending=True, stable=True)[
            :, : settings.most_faces
        ]
        chosen = torch.zeros_like(is_face).scatter(1, order, True) & is_face
        ignored = torch.where((is_shown & ~chosen)[..., None], shown, float("nan"))
        kept = is_face.gather(1, order)
        found_boxes = shown.gather(1, order[..., None].expand(-1, -1, 4))
        found_kinds = torch.where(kept, kinds.gather(1, order), NOTHING)
        return found_boxes, found_kinds, ignored


def _log_uniform(like: Tensor, low: float, high: float) -> Tensor:
    bounds = torch.tensor([low, high]).log().tolist()
    return (bounds[0] + (bounds[1] - bounds[0]) * torch.rand_like(like)).exp()
