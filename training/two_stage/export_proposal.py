# SPDX-License-Identifier: Apache-2.0
"""Export the proposal network to the shipped ONNX file."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from training.onnx_writer import write_onnx
from training.two_stage.proposal_network import STRIDES, ProposalNetwork, SeparableConv

DEFAULT_THRESHOLD = 0.6
"""Default threshold of the first stage, from the parameter `detection_thresholds`."""

OUTPUTS = [f"{name}_{stride}" for name in ("scores", "boxes") for stride in STRIDES]


class _Exported(nn.Module):
    """Maps uint8 frames to scores and boxes of each stride."""

    def __init__(self, network: ProposalNetwork, power: float) -> None:
        super().__init__()
        self.power = power
        self.backbone, self.neck = network.backbone, network.neck
        head = network.bbox_head
        self.shared = head.multi_level_share_convs if head.shared_layer else None
        self.branches = nn.ModuleList(
            _join_branches(
                [getattr(head, f"multi_level_{b}")[level] for b in ("cls", "obj", "bbox")]
            )
            for level in range(len(STRIDES))
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.neck(self.backbone(images.float().permute(0, 3, 1, 2)))
        if self.shared is not None:
            maps = [conv(x) for conv, x in zip(cast(nn.ModuleList, self.shared), maps, strict=True)]
        rows = [conv(x).flatten(2) for conv, x in zip(self.branches, maps, strict=True)]
        scores = [(r[:, 0].sigmoid() * r[:, 1].sigmoid()).pow(self.power) for r in rows]
        boxes = [r[:, 2:].transpose(1, 2) for r in rows]
        return (*scores, *boxes)


def _power(operating_point: float) -> float:
    """Exponent for the product of objectness and class score that maps a score of `operating_point`
    (the root of the product) to the default threshold."""
    return 0.5 * math.log(DEFAULT_THRESHOLD) / math.log(operating_point)


def _join_branches(branches: list[SeparableConv]) -> SeparableConv:
    """Merge parallel layers into one: fewer, wider convolutions are faster."""
    width = sum(b.conv1.out_channels for b in branches)
    joined = SeparableConv(branches[0].conv1.in_channels, width, activated=False)
    for name in ("conv1", "conv2"):
        layer = getattr(joined, name)
        layer.weight = nn.Parameter(torch.cat([getattr(b, name).weight for b in branches]))
        layer.bias = nn.Parameter(torch.cat([getattr(b, name).bias for b in branches]))
    return joined


def export_proposal(
    network: ProposalNetwork,
    path: Path,
    *,
    face_range: tuple[int, int],
    operating_point: float,
) -> None:
    """Write the proposal network as one ONNX graph from uint8 frames to proposals.

    Input `images`, uint8 (batch, H, W, 3), BGR, H and W multiples of 32. Outputs for each stride s,
    cells row by row: `scores_s` (batch, P) float32, and `boxes_s` (batch, P, 4): centre and size,
    where cell (x, y) has its centre at (x + dx) * s, (y + dy) * s and the size exp(dw) * s, exp(dh)
    * s.

    Args:
        network: the network in evaluation mode, on the CPU; it is not modified.
        path: the file to write.
        face_range: smallest and largest face that it was trained to find, in input pixels.
        operating_point: score that is mapped to the default threshold.
    """
    sides = {0: "batch", 1: "height", 2: "width"}
    write_onnx(
        _Exported(copy.deepcopy(network), _power(operating_point)),
        path,
        torch.zeros(1, 96, 128, 3, dtype=torch.uint8),
        inputs={"images": sides},
        outputs={name: {0: "batch", 1: f"cells_{name.split('_')[1]}"} for name in OUTPUTS},
        metadata={
            "strides": json.dumps(STRIDES),
            "smallest_face": str(face_range[0]),
            "largest_face": str(face_range[1]),
            "color": "BGR",
            "layout": "NHWC",
            "title": "Proposal network: YuNet, fine-tuned for faces with masks",
            "source": "training/train_proposal.py",
        },
    )
