# SPDX-License-Identifier: Apache-2.0
"""Training crops of the decision network, framed as the proposal network frames faces."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.mask_data import LABELS, LABELS_ONLY
from training.two_stage.decision_crops import NO_LABEL, Crops
from training.two_stage.face_weights import appearance_weights
from training.two_stage.harvest_proposals import BACKGROUND, FACE_OVERLAP, Proposals, judge
from training.two_stage.image_store import ImageStore, cut_views, levels_for
from training.two_stage.photographs import IGNORE
from training.two_stage.training_run import LAYOUT, mixed_precision
from training.two_stage.training_settings import DecisionSettings
from training.two_stage.view_changes import (
    change_light,
    cover_with_hand,
    degrade,
    occlude,
)
from training.two_stage.view_geometry import (
    boxes_in_views,
    draw_angles,
    mirrored_landmarks,
    overlaps,
    points_in_views,
    view_matrices,
)

LEAST_OVERLAP = 0.2
"""Minimum overlap of a crop's box with the face for the box and landmark losses."""

TEACHER_VIEWS = 4
"""Number of jittered and mirrored views of a face over which the teachers' labels are averaged."""

PAINTED_CERTAINTY = 0.95
"""Share of the painted label in what is taught of a face with a painted mask."""

COVERED_WEIGHT = 0.3
"""Weight of the label of a face behind a hand."""

MIXED_SHARE = 0.35
"""Share of the pairs for teachers that are mixed with another crop."""

Teachers = Sequence[tuple[nn.Module, int]]
"""Networks in evaluation mode on the store's device, each with the side of its crops in pixels."""


@dataclass(frozen=True)
class _View:
    pixels: Tensor
    matrices: Tensor
    mirrored: Tensor


class CropMaker:
    """Draws the decision network's training views, crops from a store.

    Args:
        store: the images.
        sources: the source names that `store.sources` indexes.
        proposals: the proposal network's output on the store.
        settings: settings of the training.
    """

    def __init__(
        self,
        store: ImageStore,
        sources: list[str],
        proposals: Proposals,
        settings: DecisionSettings,
    ) -> None:
        self._store, self._settings = store, settings
        device = store.pixels.device
        trust = [settings.source_weights.get(source, 1.0) for source in sources]
        weight = torch.tensor(trust, device=device)[store.sources]
        weight = weight * torch.where(store.suspect, settings.suspect_weight, 1.0)
        weight = weight * torch.where(store.painted, settings.painted_weight, 1.0)
        self._image_weight = weight
        only = torch.tensor([source in LABELS_ONLY for source in sources], device=device)
        self._labels_only = only[store.sources]

        side = (store.boxes[..., 2:] - store.boxes[..., :2]).amax(-1)
        known = (store.kinds >= 0) & (store.kinds < IGNORE) & (side >= settings.smallest_face)
        rows, faces = torch.nonzero(known, as_tuple=True)
        self._faces = Proposals(rows, store.boxes[rows, faces], faces)
        self._appearance = torch.ones_like(store.boxes[..., 0])
        self._appearance[rows, faces] = appearance_weights(
            store, self._faces, settings.dark_weight, settings.turned_weight
        )
        self._face_weights = self._balance(self._faces)
        # A photograph with many proposals of one kind must not dominate.
        framed = proposals.chosen(torch.nonzero(proposals.faces >= 0)[:, 0])
        framed = framed.chosen(torch.nonzero(known[framed.images, framed.faces])[:, 0])
        self._framed, self._framed_weights = framed, self._balance(framed)
        mistaken = proposals.chosen(torch.nonzero(proposals.faces == BACKGROUND)[:, 0])
        self._mistaken, self._mistaken_weights = mistaken, self._spread(mistaken.images, 0.5)
        self._taught = torch.zeros(*store.kinds.shape, len(LABELS), device=device)
        self._photographs = torch.nonzero(~self._labels_only & ~store.painted)[:, 0]

    def _spread(self, images: Tensor, power: float) -> Tensor:
        count = torch.bincount(images, minlength=len(self._store))[images].float()
        return count.clamp(min=1) ** -power

    def _balance(self, proposals: Proposals) -> Tensor:
        """Weights that draw the labels in the configured shares."""
        labels = self._store.kinds[proposals.images, proposals.faces]
        weights = self._image_weight[proposals.images] * self._spread(proposals.images, 0.5)
        weights *= self._appearance[proposals.images, proposals.faces]
        for label, share in enumerate(self._settings.label_shares):
            of_label = labels == label
            weights[of_label] *= share / weights[of_label].sum().clamp(min=1e-6)
        return weights

    @torch.no_grad()
    def learn_from(self, teachers: Teachers, batch_size: int = 256) -> None:
        """Let teachers label the decision network's views: run them over several views of every
        face and keep the mean label probabilities. Painted masks keep their own label."""
        store = self._store
        total = torch.zeros_like(self._taught)
        share = 1 / (TEACHER_VIEWS * len(teachers))
        rows = torch.nonzero(~store.painted[self._faces.images])[:, 0]
        for teacher, side in list(teachers) * TEACHER_VIEWS:
            for part in rows.split(batch_size):
                places = self._jitter(self._faces.chosen(part), self._settings.jitter)
                view = self._view(places, side, torch.zeros(len(part), device=total.device))
                total[places.images, places.faces] += share * _labels(teacher, view.pixels)
        known = functional.one_hot(store.kinds.clamp(0, len(LABELS) - 1), len(LABELS)).float()
        known = PAINTED_CERTAINTY * known + (1 - PAINTED_CERTAINTY) / len(LABELS)
        self._taught = torch.where(store.painted[:, None, None], known, total)

    @torch.no_grad()
    def draw_pairs(self, count: int, side: int, teachers: Teachers) -> tuple[Tensor, Tensor]:
        """Draw training views of faces with what the teachers say of the same pixels (Beyer et al.,
        2022, "Knowledge distillation: A good teacher is patient and consistent",
        https://arxiv.org/abs/2106.05237).

        Returns:
            (count, 3, side, side) pixels, and (count, K) mean label probabilities.
        """
        settings, large = self._settings, max(size for _, size in teachers)
        places = self._pick(self._faces, self._face_weights, count)
        places = self._jitter(places, settings.jitter)
        device = places.images.device
        angle = draw_angles(count, settings.slight_turns, settings.strong_turns, device)
        pixels = self._view(places, large, angle, settings.coarse_share).pixels
        pixels, _ = cover_with_hand(
            occlude(pixels, settings.changes.occlusion), settings.changes.hand
        )
        pixels = change_light(pixels, settings.changes.grey)
        draw = torch.rand(2, count, 1, 1, 1, device=device)
        other = torch.where(draw[0] < MIXED_SHARE, 0.15 + 0.3 * draw[1], 0.0)
        pixels = (1 - other) * pixels + other * pixels.roll(1, 0)
        taught = [_labels(teacher, _resized(pixels, size)) for teacher, size in teachers]
        return degrade(_resized(pixels, side), settings.changes), torch.stack(taught).mean(0)

    def draw(self, count: int, side: int) -> Crops:
        """Draw `count` training views of the decision network, crops of `side` pixels, with torch's
        random generator."""
        store, settings = self._store, self._settings
        places = self._draw_places(count)
        device = places.images.device
        angle = draw_angles(count, settings.slight_turns, settings.strong_turns, device)
        view = self._view(places, side, angle, settings.coarse_share)
        pixels = occlude(view.pixels, settings.changes.occlusion)
        pixels, covered = cover_with_hand(pixels, settings.changes.hand)
        pixels = degrade(change_light(pixels, settings.changes.grey), settings.changes)

        images, has_face = places.images, places.faces >= 0
        face = places.faces.clamp(min=0)
        known = store.boxes[images, face]
        boxes = boxes_in_views(known[:, None], view.matrices)[:, 0] / side
        landmarks = points_in_views(store.landmarks[images, face], view.matrices) / side
        landmarks = mirrored_landmarks(landmarks, view.mirrored)
        landmarks = torch.where(has_face[:, None, None], landmarks, float("nan"))
        overlap = overlaps(places.boxes[:, None], known[:, None])[:, 0, 0]
        is_truth = has_face & ~self._labels_only[images]
        clear = ~is_truth | (overlap >= FACE_OVERLAP)
        usable = has_face | (places.faces == BACKGROUND)
        return Crops(
            pixels,
            torch.where(has_face, store.kinds[images, face], NO_LABEL),
            torch.where(has_face[:, None], self._taught[images, face], 0.0),
            has_face,
            (clear & usable).float(),
            (has_face & clear) * torch.where(covered, COVERED_WEIGHT, 1.0),
            boxes,
            (is_truth & (overlap > LEAST_OVERLAP)).float(),
            landmarks,
        )

    def _view(
        self, places: Proposals, side: int, angle: Tensor, coarse_share: float = 0.0
    ) -> _View:
        """The squares around the boxes of `places`, as the library cuts them, rotated by
        `angle`."""
        store, settings = self._store, self._settings
        images, count = places.images, len(places)
        device = images.device
        only = self._labels_only[images] & (places.faces >= 0)
        extent = (places.boxes[:, 2:] - places.boxes[:, :2]).amax(1)
        # For heads that end at the image's edge use less context or extend the edge, so that black
        # borders do not reveal the label.
        margin = torch.where(
            only, settings.margin * torch.rand(count, device=device), settings.margin
        )
        extended = only & (torch.rand(count, device=device) < 0.6)
        scale = (extent * (1 + 2 * margin) / side).clamp(min=1e-3)
        mirrored = torch.rand(count, device=device) < 0.5
        middle = (places.boxes[:, :2] + places.boxes[:, 2:]) / 2
        matrices = view_matrices(middle, scale, angle, mirrored, side)
        coarse = torch.rand(count, device=device)
        coarser = (coarse < coarse_share).long() + (coarse < coarse_share / 3)
        level = (levels_for(scale) + coarser).clamp(max=store.offsets.shape[1] - 1)
        return _View(cut_views(store, images, matrices, level, side, extended), matrices, mirrored)

    def _draw_places(self, count: int) -> Proposals:
        """Draw images, the boxes to cut crops around, and what the crops show."""
        settings = self._settings
        background = round(count * settings.background_share)
        blind = round(background * settings.random_share)
        if not len(self._mistaken):
            blind = background
        framed = round((count - background) * settings.proposed_share) if len(self._framed) else 0
        drawn = self._pick(self._faces, self._face_weights, count - background - framed)
        wide = torch.rand(len(drawn), 1, device=drawn.images.device) < settings.wide_share
        near, far = self._jitter(drawn, settings.jitter), self._jitter(drawn, settings.wide_jitter)
        parts = [Proposals(drawn.images, torch.where(wide, far.boxes, near.boxes), drawn.faces)]
        if framed:
            parts.append(self._pick(self._framed, self._framed_weights, framed))
        if background > blind:
            parts.append(self._pick(self._mistaken, self._mistaken_weights, background - blind))
        if blind:
            parts.append(self._random(blind))
        return Proposals(
            torch.cat([p.images for p in parts]),
            torch.cat([p.boxes for p in parts]),
            torch.cat([p.faces for p in parts]),
        )

    def _pick(self, proposals: Proposals, weights: Tensor, count: int) -> Proposals:
        return proposals.chosen(torch.multinomial(weights, count, replacement=True))

    def _jitter(self, faces: Proposals, deviations: list[float]) -> Proposals:
        """Shift and stretch boxes about as much as proposals miss faces."""
        move, grow, stretch = deviations
        size = faces.boxes[:, 2:] - faces.boxes[:, :2]
        middle = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 + move * torch.randn_like(
            size
        ) * size
        growth = grow * torch.randn_like(size[:, :1]) + stretch * torch.randn_like(size)
        half = size / 2 * growth.exp()
        return Proposals(faces.images, torch.cat([middle - half, middle + half], 1), faces.faces)

    def _random(self, count: int) -> Proposals:
        """Random squares, classified by the boxes that they overlap."""
        store = self._store
        device = store.pixels.device
        at = torch.randint(len(self._photographs), (count,), device=device)
        images = self._photographs[at]
        size = store.sizes[images, 0].float()
        limit = size.amin(1) / self._settings.smallest_face
        side = self._settings.smallest_face * limit.clamp(min=1) ** torch.rand_like(limit)
        corner = torch.rand(count, 2, device=device) * (size - side[:, None]).clamp(min=0)
        boxes = torch.cat([corner, corner + side[:, None]], 1)
        shown = judge(boxes[:, None], store.boxes[images], store.kinds[images])[:, 0]
        return Proposals(images, boxes, shown)


def _labels(teacher: nn.Module, pixels: Tensor) -> Tensor:
    with mixed_precision(pixels.device):
        said: Tensor = teacher(pixels.contiguous(memory_format=LAYOUT))["labels"]
    return said.float().softmax(1)


def _resized(pixels: Tensor, side: int) -> Tensor:
    if pixels.shape[-1] == side:
        return pixels
    return functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
