# SPDX-License-Identifier: Apache-2.0
"""Write trained networks as ONNX files."""

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

OPSET = 17
IR_VERSION = 8
"""The oldest usable opset and IR versions, so that old runtimes on robots can read the file."""

Axes = Mapping[int, str]
"""Names of the dynamic dimensions of a tensor, by position."""


def write_onnx(
    network: nn.Module,
    path: Path,
    example: Tensor,
    *,
    inputs: Mapping[str, Axes],
    outputs: Mapping[str, Axes],
    metadata: Mapping[str, str],
) -> None:
    """Write a trained network to ONNX as one self-contained graph, with batch normalisation folded
    away.

    Args:
        network: on the CPU; it is not modified.
        path: the file to write.
        example: an input of the network.
        inputs, outputs: names in the graph, with the dynamic dimensions of each.
        metadata: metadata of the file, such as title and source; the licence is Apache-2.0.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # torch's newer exporter would fix dynamic sizes to those of the example.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            copy.deepcopy(network).eval(),
            (example,),
            path,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={**inputs, **outputs},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    for node in [node for node in model.graph.node if node.op_type == "Constant"]:
        node.attribute[0].t.name = node.output[0]
        model.graph.initializer.append(node.attribute[0].t)
        model.graph.node.remove(node)
    model.ir_version = IR_VERSION
    model.producer_name = "mask_detector_ros"
    onnx.helper.set_model_props(model, {**metadata, "license": "Apache-2.0"})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def crop_metadata(labels: Sequence[str], margin: float) -> dict[str, str]:
    """The ONNX metadata of a network of uint8 BGR crops: how to feed it, and what it predicts; see
    models/README.md."""
    return {
        "labels": json.dumps(list(labels)),
        "margin": str(margin),
        "color": "BGR",
        "layout": "NHWC",
        "scale": "1.0",
        "offset": "0.0",
    }


def fold_pixel_scale(stages: nn.Module) -> nn.Module:
    """Fold the division of pixels by 255 into a network to be written to ONNX: a copy of stages
    that takes pixels of 0 to 255."""
    stages = copy.deepcopy(stages)
    first = next(module for module in stages.modules() if isinstance(module, nn.Conv2d))
    first.weight.data /= 255
    return stages
