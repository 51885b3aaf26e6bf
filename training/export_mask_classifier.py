# SPDX-License-Identifier: Apache-2.0
"""Export the trained mask classifier to the shipped ONNX file."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.mask_network import MaskNetwork
from training.onnx_writer import crop_metadata, fold_pixel_scale, write_onnx


class _ExportedClassifier(nn.Module):
    """Maps uint8 crops to probabilities."""

    def __init__(self, network: MaskNetwork, temperature: float) -> None:
        super().__init__()
        self.stages = fold_pixel_scale(network.stages)
        # TensorRT on old GPUs has no fully connected layer.
        self.head = nn.Conv2d(network.head.in_features, network.head.out_features, 1)
        self.head.weight.data = network.head.weight.detach()[..., None, None] / temperature
        self.head.bias.data = network.head.bias.detach() / temperature  # type: ignore[union-attr]

    def forward(self, crops: Tensor) -> Tensor:
        features = self.stages(crops.float().permute(0, 3, 1, 2))
        logits: Tensor = self.head(functional.adaptive_avg_pool2d(features, 1))
        return logits.flatten(1).softmax(dim=1)


def export_classifier(
    network: MaskNetwork,
    path: Path,
    *,
    crop_size: int,
    temperature: float,
    labels: Sequence[str],
    margin: float,
) -> None:
    """Export the trained mask classifier to ONNX: uint8 crops to probabilities.

    Args:
        network: on the CPU.
        path: the file to write.
        crop_size: S of the input `crops`, uint8 (batch, S, S, 3), BGR.
        temperature: divides the logits.
        labels: names of the columns of the output `probabilities`, float32 (batch, K).
        margin: context on each side that crops must have.
    """
    write_onnx(
        _ExportedClassifier(network, temperature),
        path,
        torch.zeros(2, crop_size, crop_size, 3, dtype=torch.uint8),
        inputs={"crops": {0: "batch"}},
        outputs={"probabilities": {0: "batch"}},
        metadata={
            "title": "Mask classifier: a small residual network on crops of faces",
            "source": "training/train_mask_classifier.py",
            **crop_metadata(labels, margin),
        },
    )
