# SPDX-License-Identifier: Apache-2.0
"""Export the proposal network to the shipped ONNX file."""

import copy
import json
import math
from pathlib import Path
from typing import Any, cast

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
        rows = [_Flat.apply(conv(x)) for conv, x in zip(self.branches, maps, strict=True)]
        logits, moves = zip(*(row.split([2, 4], dim=1) for row in rows), strict=True)
        scores = [values.sigmoid().prod(dim=1).pow(self.power) for values in logits]
        return (*scores, *(values.transpose(1, 2) for values in moves))


class _Flat(torch.autograd.Function):
    """(N, C, H, W) to (N, C, H * W) by one operation; torch would compute the shape by several."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        return maps.flatten(2)

    @staticmethod
    def symbolic(g: Any, maps: Any) -> Any:
        return g.op("Reshape", maps, g.op("Constant", value_t=torch.tensor([0, 0, -1])))


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
