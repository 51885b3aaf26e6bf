# SPDX-License-Identifier: Apache-2.0
"""Export the decision network to the shipped ONNX file."""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.export_mask_classifier import IR_VERSION, OPSET
from training.mask_data import LABELS
from training.mask_network import ConvBatchNorm
from training.shorten_onnx import shorten
from training.two_stage.decision_network import DecisionNetwork, split_outputs

NAMES = ("scores", "offsets", "landmarks", "probabilities")


@dataclass(frozen=True)
class Calibration:
    """Parameters that turn logits into probabilities.

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
    """Fit the calibration that maximises the likelihood of the labels (Guo et al., 2017,
    https://arxiv.org/abs/1706.04599), with a bias per label, since training draws labels in other
    shares than photographs show.

    Args:
        logits: (N, K) logits of known faces.
        labels: (N,) their labels.
        label_biases: added afterwards, to account for the cost of mistakes.
        operating_point: score that is mapped to the default threshold.
    """
    log_temperature = torch.zeros((), requires_grad=True)
    biases = torch.zeros(logits.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_temperature, biases], max_iter=200, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(logits / log_temperature.exp() + biases, labels)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    fitted = (biases - biases[0]).detach() + torch.tensor(label_biases)
    return Calibration(
        score_addend=_logit(DEFAULT_THRESHOLD) - _logit(operating_point),
        temperature=float(log_temperature.detach().exp()),
        label_biases=tuple(fitted.tolist()),
    )


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


class _Exported(nn.Module):
    """Maps uint8 crops to the calibrated outputs."""

    def __init__(self, network: DecisionNetwork, calibration: Calibration) -> None:
        super().__init__()
        self.stages, self.head = network.stages, network.head
        self.calibration = calibration
        self.register_buffer("biases", torch.tensor([calibration.label_biases]))

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        raw = split_outputs(self.head(self.stages(crops.float().permute(0, 3, 1, 2))))
        scores = (raw["scores"].flatten() + self.calibration.score_addend).sigmoid()
        landmarks = raw["landmarks"].unflatten(1, (2, 5)).transpose(1, 2)
        labels = raw["labels"] / self.calibration.temperature + self.biases
        return scores, raw["offsets"], landmarks, labels.softmax(dim=1)


def _fold(module: nn.Module) -> None:
    """Fold batch normalisation and the division of pixels by 255 into the convolutions."""
    first = True
    for child in module.modules():
        if isinstance(child, ConvBatchNorm):
            child.conv, child.norm = fuse_conv_bn_eval(child.conv, child.norm), nn.Identity()
            if first:
                child.conv.weight.data /= 255
            first = False


def export_decision(
    network: DecisionNetwork,
    path: Path,
    *,
    crop_size: int,
    margin: float,
    calibration: Calibration,
    properties: Mapping[str, str],
) -> None:
    """Write the network as one graph.

    Input `crops`, uint8 (batch, S, S, 3), BGR. Outputs, float32: `scores` (batch,), the probability
    of a face; `offsets` (batch, 4), to add to the crop's xmin, ymin, xmax, ymax, relative to its
    side; `landmarks` (batch, 5, 2), x and y in the crop, 0 to 1, in the order left eye, right eye,
    nose, left and right corner of the mouth as seen in the image; `probabilities` (batch, K).
    """
    exported = copy.deepcopy(_Exported(network, calibration)).eval()
    _fold(exported)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            exported,
            (torch.zeros(2, crop_size, crop_size, 3, dtype=torch.uint8),),
            path,
            input_names=["crops"],
            output_names=list(NAMES),
            dynamic_axes={name: {0: "batch"} for name in ("crops", *NAMES)},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    shorten(model)
    model.ir_version = IR_VERSION
    model.producer_name = "mask_detector_ros"
    metadata = {
        "labels": json.dumps(list(LABELS)),
        "margin": str(margin),
        "color": "BGR",
        "layout": "NHWC",
        "scale": "1.0",
        "offset": "0.0",
        **properties,
    }
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
