# SPDX-License-Identifier: Apache-2.0
"""The mask classifier's network: a small residual network after He et al., 2015
(https://arxiv.org/abs/1512.03385), and its calibration after Guo et al., 2017
(https://arxiv.org/abs/1706.04599).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvBatchNorm(nn.Module):
    """A 3x3 convolution without bias, and batch normalisation."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class Residual(nn.Module):
    """Two convolutions with a residual connection around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBatchNorm(channels, channels)
        self.second = ConvBatchNorm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class Stage(nn.Module):
    """A convolution that halves the image, then residual blocks."""

    def __init__(self, channels_in: int, channels_out: int, block_count: int) -> None:
        super().__init__()
        self.halving = ConvBatchNorm(channels_in, channels_out, stride=2)
        self.blocks = nn.Sequential(*(Residual(channels_out) for _ in range(block_count)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(functional.relu(self.halving(x)))
        return y


def fuse_batch_norm(network: nn.Module) -> nn.Module:
    """Fold the statistics of batch normalisation into a mask network's convolutions, in place; they
    get biases."""
    network.eval()
    for module in network.modules():
        if isinstance(module, ConvBatchNorm):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()
    return network


def residual_stages(widths: Sequence[int], blocks: Sequence[int]) -> nn.Sequential:
    """Stages for images, with these numbers of channels and of residual blocks."""
    shapes = zip((3, *widths[:-1]), widths, blocks, strict=True)
    return nn.Sequential(*(Stage(*shape) for shape in shapes))


class MaskNetwork(nn.Module):
    """The mask classifier's network: maps crops of faces to logits.

    Pixels are only divided by 255. No mean is subtracted, so black padding is zero everywhere and
    the division folds exactly into the first convolution.

    Args:
        widths: number of channels of each stage.
        blocks: number of residual blocks of each stage.
        label_count: number of labels, K.
        dropout: fraction of features dropped in training.
    """

    def __init__(
        self, widths: Sequence[int], blocks: Sequence[int], label_count: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.stages = residual_stages(widths, blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], label_count)

    def forward(self, crops: Tensor) -> Tensor:
        """Compute the mask network's (N, K) logits of (N, S, S, 3) uint8 BGR crops."""
        features = self.stages(crops.float().permute(0, 3, 1, 2) / 255)
        logits: Tensor = self.head(self.dropout(features.mean(dim=(2, 3))))
        return logits


def fit_temperature(logits: Tensor, labels: Tensor, biased: bool = False) -> tuple[float, Tensor]:
    """Fit the calibration of a mask classifier: temperature scaling.

    Args:
        logits: (N, K) logits of known faces.
        labels: (N,) their labels.
        biased: whether to fit an addend per label, too.

    Returns:
        The divisor of the logits, and the (K,) addends of the quotients, which together maximise
        the likelihood of the labels under softmax.
    """
    log_temperature = torch.zeros((), requires_grad=True)
    biases = torch.zeros(logits.shape[1], requires_grad=biased)
    fitted = [log_temperature, biases] if biased else [log_temperature]
    optimizer = torch.optim.LBFGS(fitted, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(logits / log_temperature.exp() + biases, labels)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return float(log_temperature.detach().exp()), biases.detach()
