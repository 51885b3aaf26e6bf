# SPDX-License-Identifier: Apache-2.0
"""Export the trained network to the shipped ONNX file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.mask_network import ConvBatchNorm, MaskNetwork, Residual, Stage

OPSET = 17
IR_VERSION = 8
"""The oldest usable opset and IR versions, so that old runtimes on robots can read the file."""


def export_onnx(
    network: MaskNetwork,
    path: Path,
    *,
    crop_size: int,
    temperature: float,
    labels: Sequence[str],
    margin: float,
    properties: Mapping[str, str],
) -> None:
    """Write `network` as one self-contained graph, uint8 crops to probabilities.

    Batch normalisation and the division by 255 are folded into the convolutions, the
    temperature into the last layer; that layer is a 1x1 convolution because TensorRT on old
    GPUs has no fully connected one.

    Args:
        network: in evaluation mode, on the CPU.
        path: the file to write.
        crop_size: S of the input `crops`, uint8 (batch, S, S, 3), BGR.
        temperature: divides the logits.
        labels: names of the columns of the output `probabilities`, float32 (batch, K).
        margin: context on each side that crops must have.
        properties: further metadata, such as title, licence and source.
    """
    graph = _Graph()
    x = graph.add("Cast", ["crops"], to=TensorProto.FLOAT)
    x = graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    input_scale = 1 / 255
    for stage in cast(Iterable[Stage], network.stages):
        x = graph.add("Relu", [graph.convolution(x, stage.halving, input_scale)])
        input_scale = 1.0
        for block in cast(Iterable[Residual], stage.blocks):
            y = graph.add("Relu", [graph.convolution(x, block.first)])
            y = graph.convolution(y, block.second)
            x = graph.add("Relu", [graph.add("Add", [x, y])])
    x = graph.add("GlobalAveragePool", [x])
    weight = network.head.weight.detach().numpy()[:, :, None, None] / temperature
    bias = network.head.bias.detach().numpy() / temperature
    x = graph.add("Conv", [x, graph.constant(weight), graph.constant(bias)])
    x = graph.add("Flatten", [x])
    graph.add("Softmax", [x], output="probabilities", axis=1)

    metadata = {
        "labels": json.dumps(list(labels)),
        "margin": str(margin),
        "color": "BGR",
        "layout": "NHWC",
        "scale": "1.0",
        "offset": "0.0",
        **properties,
    }
    shape: list[str | int] = ["batch", crop_size, crop_size, 3]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "mask_classifier",
            [helper.make_tensor_value_info("crops", TensorProto.UINT8, shape)],
            [
                helper.make_tensor_value_info(
                    "probabilities", TensorProto.FLOAT, ["batch", len(labels)]
                )
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mask_detector_ros",
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


class _Graph:
    """Collects nodes and constants in the order they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, values: NDArray[np.floating]) -> str:
        name = f"weights_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def convolution(self, x: str, layer: ConvBatchNorm, input_scale: float = 1.0) -> str:
        fused = fuse_conv_bn_eval(layer.conv, layer.norm)
        assert fused.bias is not None
        weight = fused.weight.detach().numpy() * input_scale
        bias = fused.bias.detach().numpy()
        return self.add(
            "Conv",
            [x, self.constant(weight), self.constant(bias)],
            kernel_shape=list(fused.kernel_size),
            pads=[1, 1, 1, 1],
            strides=list(fused.stride),
        )
