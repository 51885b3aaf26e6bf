# SPDX-License-Identifier: Apache-2.0
"""Export the decision network to the shipped ONNX file."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from training.mask_data import LABELS
from training.mask_network import fit_temperature
from training.onnx_writer import crop_metadata, fold_pixel_scale, write_onnx
from training.two_stage.decision_network import DecisionNetwork, split_outputs

NAMES = ("scores", "offsets", "landmarks", "probabilities")


@dataclass(frozen=True)
class Calibration:
    """The calibration of the exported decision network: parameters that turn logits into
    probabilities.

    Attributes:
        score_addend: added to the logit of the face score.
        temperature: divisor of the label logits.
        label_biases: added afterwards, one per label.
    """

    score_addend: float = 0.0
    temperature: float = 1.0
    label_biases: tuple[float, ...] = (0.0,) * len(LABELS)


DEFAULT_THRESHOLD = 0.7
"""Default threshold of the last stage, from the parameter `detection_thresholds`."""


def calibrate(
    logits: Tensor, labels: Tensor, label_biases: Sequence[float], operating_point: float
) -> Calibration:
    """Calibrate the decision network for export: maximise the likelihood of the labels (Guo et al.,
    2017, https://arxiv.org/abs/1706.04599), with a bias per label, since training draws labels in
    other shares than photographs show.

    Args:
        logits: (N, K) logits of known faces.
        labels: (N,) their labels.
        label_biases: added afterwards, to account for the cost of mistakes.
        operating_point: score that is mapped to the default threshold.
    """
    temperature, biases = fit_temperature(logits, labels, biased=True)
    fitted = biases - biases[0] + torch.tensor(label_biases)
    return Calibration(
        score_addend=_logit(DEFAULT_THRESHOLD) - _logit(operating_point),
        temperature=temperature,
        label_biases=tuple(fitted.tolist()),
    )


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


class _Exported(nn.Module):
    """Maps uint8 crops to the calibrated outputs."""

    def __init__(self, network: DecisionNetwork, calibration: Calibration) -> None:
        super().__init__()
        self.stages, self.head = fold_pixel_scale(network.stages), copy.deepcopy(network.head)
        # The calibration goes into the last layer, and the landmarks into its order: five x, then
        # five y become pairs.
        tasks = self.head.tasks
        weight, bias = tasks.weight.data, cast(Tensor, tasks.bias).data
        score, landmarks, labels = np.r_[:1], np.r_[5:15], np.r_[15 : len(bias)]
        bias[score] += calibration.score_addend
        weight[labels] /= calibration.temperature
        bias[labels] /= calibration.temperature
        bias[labels] += torch.tensor(calibration.label_biases)
        order = np.r_[:5, landmarks.reshape(2, 5).T.ravel(), labels]
        tasks.weight.data, cast(Tensor, tasks.bias).data = weight[order], bias[order]

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        raw = split_outputs(self.head(self.stages(crops.float().permute(0, 3, 1, 2))))
        landmarks = raw["landmarks"].reshape(-1, 5, 2)
        scores, labels = raw["scores"].reshape(-1).sigmoid(), raw["labels"].softmax(dim=1)
        return scores, raw["offsets"], landmarks, labels


def export_decision(
    network: DecisionNetwork,
    path: Path,
    *,
    crop_size: int,
    margin: float,
    calibration: Calibration,
) -> None:
    """Write the decision network as one ONNX graph.

    Input `crops`, uint8 (batch, S, S, 3), BGR. Outputs, float32: `scores` (batch,), the probability
    of a face; `offsets` (batch, 4), to add to the crop's xmin, ymin, xmax, ymax, relative to its
    side; `landmarks` (batch, 5, 2), x and y in the crop, 0 to 1, in the order left eye, right eye,
    nose, left and right corner of the mouth as seen in the image; `probabilities` (batch, K).
    """
    write_onnx(
        _Exported(network, calibration),
        path,
        torch.zeros(2, crop_size, crop_size, 3, dtype=torch.uint8),
        inputs={"crops": {0: "batch"}},
        outputs={name: {0: "batch"} for name in NAMES},
        metadata={
            "title": "Decision network: face, box, landmarks and mask label of a crop",
            "source": "training/train_decision.py",
            **crop_metadata(LABELS, margin),
        },
    )
