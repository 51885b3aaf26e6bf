# SPDX-License-Identifier: Apache-2.0
"""MTCNN's P-, R- and O-Net in torch, with conversion from and to the weights of
training/make_mtcnn_onnx.py.

They have the same layers as the shipped files, and thus the same cost. Zhang et al., "Joint Face
Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.
"""

import numpy as np
import torch
from torch import Tensor, nn

from training.make_mtcnn_onnx import NETS, PIXEL_MEAN, PIXEL_SCALE, Weights

SIDES = {"pnet": 12, "rnet": 24, "onet": 48}
"""Side in pixels of each network's crop."""


class CascadeNetwork(nn.Module):
    """One network of MTCNN in torch, on crops of its own size.

    Args:
        name: `pnet`, `rnet` or `onet`.
        weights: initial weights.
    """

    def __init__(self, name: str, weights: Weights) -> None:
        super().__init__()
        self.name = name
        convolutions, dense, slopes = weights
        # Pixels are scaled in `forward`: an optimiser changes all weights by steps of similar size,
        # and weights for raw pixels would be far smaller than the others.
        kernel, bias = convolutions[0]
        first = (kernel / PIXEL_SCALE, bias + PIXEL_MEAN * kernel.sum(axis=(1, 2, 3)))
        layers: list[nn.Module] = []
        pools = NETS[name][1]
        for i, pool in enumerate(pools):
            layers += [_convolution(*(convolutions[i] if i else first)), _prelu(slopes[i])]
            if pool:
                layers.append(nn.MaxPool2d(*pool, ceil_mode=True))
        if dense:
            layers += [nn.Flatten(), _linear(*dense[0]), _prelu(slopes[-1]), _linear(*dense[1])]
        else:
            layers.append(_convolution(*convolutions[-1]))
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the (N, 5 or 15) outputs of an MTCNN network for (N, 3, side, side) BGR pixels, 0
        to 255.

        These are the face logit, four box offsets and, from O-Net, five x and five y of landmarks,
        relative to the crop's side.
        """
        outputs: Tensor = self.layers((pixels - PIXEL_MEAN) * PIXEL_SCALE)
        return outputs.flatten(1)

    def move_operating_point(self, score: float, threshold: float) -> None:
        """Shift the scores of an MTCNN network so that `score` becomes `threshold`; their order
        does not change."""
        move = np.log(threshold / (1 - threshold)) - np.log(score / (1 - score))
        with torch.no_grad():
            self.layers[-1].bias[0] += move

    def weights(self) -> Weights:
        """The current weights of an MTCNN network in clean form."""
        convolutions, dense, slopes = [], [], []
        for layer in self.layers:
            if isinstance(layer, nn.PReLU):
                slopes.append(_array(layer.weight))
            elif isinstance(layer, nn.Conv2d | nn.Linear):
                assert layer.bias is not None
                kind = convolutions if isinstance(layer, nn.Conv2d) else dense
                kind.append((_array(layer.weight), _array(layer.bias)))
        kernel, bias = convolutions[0]
        kernel = kernel * np.float32(PIXEL_SCALE)
        convolutions[0] = (kernel, bias - np.float32(PIXEL_MEAN) * kernel.sum(axis=(1, 2, 3)))
        return convolutions, dense, slopes


def _array(parameter: Tensor) -> np.ndarray:
    return parameter.detach().cpu().numpy().copy()


def _convolution(kernel: np.ndarray, bias: np.ndarray) -> nn.Conv2d:
    return _filled(nn.Conv2d(kernel.shape[1], len(kernel), kernel.shape[2:]), kernel, bias)


def _linear(kernel: np.ndarray, bias: np.ndarray) -> nn.Linear:
    return _filled(nn.Linear(kernel.shape[1], len(kernel)), kernel, bias)


def _prelu(slope: np.ndarray) -> nn.PReLU:
    return _filled(nn.PReLU(len(slope)), slope)


def _filled(layer: nn.Module, *values: np.ndarray) -> nn.Module:
    with torch.no_grad():
        for name, value in zip(("weight", "bias"), values, strict=False):
            getattr(layer, name).copy_(torch.from_numpy(np.array(value, np.float32)))
    return layer
