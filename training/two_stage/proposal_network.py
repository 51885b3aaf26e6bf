# SPDX-License-Identifier: Apache-2.0
"""Stage one of the two-stage cascade: one pass over the frame that proposes faces.

The architecture is YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine
Intelligence Research 2023, https://doi.org/10.1007/s11633-023-1423-y), so that training can start
from its published weights (Apache-2.0). The landmark branch is kept in training, where it
stabilises the features, and left out of the exported file: the second stage places the landmarks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mask_detector_ros.errors import ModelError

STRIDES = (8, 16, 32)

POOLED = (0, 2, 3, 4)
"""Stages of the backbone after which the feature map is halved."""

BRANCHES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Channels of each output branch."""


@dataclass(frozen=True)
class Variant:
    """Channels of one published size of YuNet, and whether its branches share a layer."""

    channels: tuple[tuple[int, int], ...]
    shared_layer: bool


VARIANTS = {
    "n": Variant(((16, 16), (16, 64), (64, 64), (64, 64), (64, 64), (64, 64)), True),
    "s": Variant(((16, 16), (16, 32), (32, 64), (64, 64), (64, 64), (64, 64)), False),
}


class SeparableConv(nn.Module):
    """A layer of the proposal network: a 1x1 convolution, then a depthwise 3x3 one, with optional
    normalisation and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, activated: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 1)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, groups=channels_out)
        self.bn = nn.BatchNorm2d(channels_out) if activated else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x))
        return x if self.bn is None else functional.relu(self.bn(x))


class Stem(nn.Module):
    """A strided convolution over the pixels, then a separable one."""

    def __init__(self, channels_mid: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels_mid, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(channels_mid)
        self.conv2 = SeparableConv(channels_mid, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(functional.relu(self.bn1(self.conv1(x))))
        return y


class ConvPair(nn.Module):
    """Two separable convolutions."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = SeparableConv(channels_in, channels_in)
        self.conv2 = SeparableConv(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return y


class Backbone(nn.Module):
    """Maps pixels to feature maps with strides 8, 16 and 32."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        (mid, out), *pairs = variant.channels
        self.model0 = Stem(mid, out)
        for index, channels in enumerate(pairs, start=1):
            self.add_module(f"model{index}", ConvPair(*channels))
        self.depth = len(variant.channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for index in range(self.depth):
            x = getattr(self, f"model{index}")(x)
            maps.append(x)
            if index in POOLED:
                x = functional.max_pool2d(x, 2)
        return maps[-len(STRIDES) :]


class Neck(nn.Module):
    """Upsamples each coarse map and adds it to the next finer one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(SeparableConv(channels, channels) for _ in STRIDES)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = list(maps)
        for level in range(len(maps) - 1, 0, -1):
            maps[level] = self.lateral_convs[level](maps[level])
            enlarged = functional.interpolate(maps[level], scale_factor=2.0, mode="nearest")
            maps[level - 1] = maps[level - 1] + enlarged
        maps[0] = self.lateral_convs[0](maps[0])
        return maps


class Head(nn.Module):
    """Maps each feature map to the output branches."""

    def __init__(self, channels: int, shared_layer: bool) -> None:
        super().__init__()
        if shared_layer:
            self.multi_level_share_convs = nn.ModuleList(
                nn.Sequential(SeparableConv(channels, channels)) for _ in STRIDES
            )
        self.shared_layer = shared_layer
        for branch, width in BRANCHES.items():
            convs = (SeparableConv(channels, width, activated=False) for _ in STRIDES)
            self.add_module(f"multi_level_{branch}", nn.ModuleList(convs))

    def forward(self, maps: list[Tensor]) -> dict[str, list[Tensor]]:
        if self.shared_layer:
            maps = [
                conv(x)
                for conv, x in zip(
                    cast(nn.ModuleList, self.multi_level_share_convs), maps, strict=True
                )
            ]
        with torch.autocast(maps[0].device.type, enabled=False):
            return {
                branch: [
                    conv(x.float())
                    for conv, x in zip(getattr(self, f"multi_level_{branch}"), maps, strict=True)
                ]
                for branch in BRANCHES
            }


class ProposalNetwork(nn.Module):
    """The proposal network, YuNet; module names are those of the published state dictionaries."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ModelError(f"variant {variant!r} is none of {', '.join(VARIANTS)}")
        shape = VARIANTS[variant]
        channels = shape.channels[-1][1]
        self.backbone = Backbone(shape)
        self.neck = Neck(channels)
        self.bbox_head = Head(channels, shape.shared_layer)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Compute the proposal network's logits and offsets of (N, 3, H, W) BGR pixels, 0 to 255,
        with sides that are multiples of 32.

        Returns:
            By branch, float32 (N, P, C) over the priors of all strides: `cls` and `obj` are logits,
            `bbox` and `kps` offsets in strides (see `decode_boxes`).
        """
        branches = self.bbox_head(self.neck(self.backbone(pixels)))
        return {
            name: torch.cat([m.flatten(2) for m in maps], dim=2).transpose(1, 2).float()
            for name, maps in branches.items()
        }


def load_published(path: Path, variant: str) -> ProposalNetwork:
    """Load published weights into the proposal network, from a checkpoint (`weights/yunet_n.pth`).

    Raises:
        ModelError: the file is missing, or its weights are of another variant.
    """
    if not path.is_file():
        raise ModelError(
            f"{path} does not exist; copy weights/yunet_{variant}.pth from the repository "
            "ShiqiYu/libfacedetection.train there"
        )
    network = ProposalNetwork(variant)
    # The checkpoint also holds the optimiser; only tensors are read.
    state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state.get("state_dict", state))
    except RuntimeError as error:
        raise ModelError(f"{path} does not hold the weights of variant {variant!r}") from error
    return network


def make_priors(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Make the proposal network's priors of an image, (P, 3): x, y and stride of each, in the order
    of the outputs."""
    priors = []
    for stride in STRIDES:
        ys, xs = torch.meshgrid(
            torch.arange(height // stride, device=device),
            torch.arange(width // stride, device=device),
            indexing="ij",
        )
        points = torch.stack([xs, ys], dim=-1).reshape(-1, 2).float() * stride
        priors.append(functional.pad(points, (0, 1), value=float(stride)))
    return torch.cat(priors)


def decode_boxes(offsets: Tensor, priors: Tensor) -> Tensor:
    """Decode the proposal network's (..., P, 4) offsets of centre (in strides) and size (logarithm
    of strides) to xyxy boxes."""
    stride = priors[:, 2:]
    centres = offsets[..., :2] * stride + priors[:, :2]
    half = offsets[..., 2:].clamp(max=8).exp() * stride / 2
    return torch.cat([centres - half, centres + half], dim=-1)


def interpolate_weights(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], weight: float
) -> dict[str, Tensor]:
    """Interpolate between the weights of two networks of the cascade; 0 gives the first.

    Interpolated weights keep the abilities of the start better than fine-tuned ones (Wortsman et
    al., "Robust fine-tuning of zero-shot models", 2022, https://arxiv.org/abs/2109.01903).
    """
    return {
        name: value + weight * (end[name] - value) if value.is_floating_point() else value
        for name, value in start.items()
    }
