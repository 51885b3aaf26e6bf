# SPDX-License-Identifier: Apache-2.0
"""Views of faces with what the decision teachers say of them, made before the training, because a
large teacher on a CPU would take longer than the step it teaches."""

import torch
from torch import Tensor
from tqdm import tqdm

from training.two_stage.decision_views import CropMaker, Teachers

AT_ONCE = 128


class TaughtPairs:
    """A pool of views that teachers labelled.

    Args:
        maker: draws the views.
        count: number of views in the pool; with 0 every draw makes new ones.
        side: side of the views in pixels.
        teachers: label the views.
    """

    def __init__(self, maker: CropMaker, count: int, side: int, teachers: Teachers) -> None:
        self._maker, self._side, self._teachers = maker, side, teachers
        pixels, taught = [], []
        for _ in tqdm(range(0, count, AT_ONCE), "views for teachers", disable=not count):
            shown, said = maker.draw_pairs(AT_ONCE, side, teachers)
            pixels.append(shown.byte())
            taught.append(said)
        self._pixels, self._taught = pixels and torch.cat(pixels), taught and torch.cat(taught)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw views of faces, and what the teachers say of them: (count, 3, side, side) pixels
        and (count, K) label probabilities."""
        if not isinstance(self._pixels, Tensor) or not isinstance(self._taught, Tensor):
            return self._maker.draw_pairs(count, self._side, self._teachers)
        rows = torch.randint(len(self._pixels), (count,), device=self._pixels.device)
        pixels = self._pixels[rows].float()
        mirrored = torch.rand(count, 1, 1, 1, device=pixels.device) < 0.5
        return torch.where(mirrored, pixels.flip(3), pixels), self._taught[rows]
