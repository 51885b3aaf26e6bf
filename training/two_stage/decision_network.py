# SPDX-License-Identifier: Apache-2.0
"""Stage two of the two-stage cascade: one crop per proposal, four tasks.

A small residual network (He et al., 2015, https://arxiv.org/abs/1512.03385) with the four tasks of
a modern O-Net on one trunk: face or not, exact box, five landmarks (Zhang et al., 2016,
https://arxiv.org/abs/1604.02878), and the mask label.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.mask_data import LABELS
from training.mask_network import residual_stages

OUTPUTS = {"scores": 1, "offsets": 4, "landmarks": 10, "labels": len(LABELS)}
"""Number of outputs of each task; `scores` and `labels` are logits."""

HALVINGS = 4
"""Number of times that the crop is halved before the head."""


class TaskHead(nn.Module):
    """The decision network's head: maps a feature map to the four tasks.

    All tasks use the cells of the map; the label also uses its mean.

    Args:
        channels: channels of the map.
        side: side of the map in cells.
        squeezed: channels to which the map is reduced before it is flattened.
        hidden: size of the hidden layer over the flattened map.
    """

    def __init__(self, channels: int, side: int, squeezed: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.read = nn.Conv2d(squeezed, hidden, side)
        self.tasks = nn.Conv2d(hidden + channels, sum(OUTPUTS.values()), 1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C, side, side) features to the decision network's (N, sum of `OUTPUTS`)."""
        cells = functional.relu(self.read(functional.relu(self.squeeze(features))))
        mean = functional.adaptive_avg_pool2d(features, 1)
        joined = self.dropout(torch.cat([cells, mean], dim=1))
        with torch.autocast(joined.device.type, enabled=False):
            # A cast that changes nothing would be in the exported file.
            outputs: Tensor = self.tasks(joined.float() if joined.dtype.itemsize < 4 else joined)
        return outputs.flatten(1)


class DecisionNetwork(nn.Module):
    """The decision network: maps crops of proposals to the four tasks.

    Pixels are only divided by 255, so that black padding is zero everywhere.

    Args:
        crop_size: side of the crops in pixels, a multiple of 16.
        widths: channels of each of the four downsampling stages.
        blocks: residual blocks of each stage.
        squeezed, hidden: see `TaskHead`.
    """

    def __init__(
        self,
        crop_size: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        squeezed: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.stages = residual_stages(widths, blocks)
        self.head = TaskHead(widths[-1], crop_size >> HALVINGS, squeezed, hidden)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Compute the decision network's outputs of each task, float32 (N, count), from (N, 3, S,
        S) BGR pixels, 0 to 255."""
        return split_outputs(self.head(self.stages(pixels / 255)))


def split_outputs(outputs: Tensor) -> dict[str, Tensor]:
    """Split the decision network's (N, sum of `OUTPUTS`) by task."""
    return dict(zip(OUTPUTS, outputs.split(list(OUTPUTS.values()), dim=1), strict=True))
