# SPDX-License-Identifier: Apache-2.0
"""Graph changes that make OpenVINO faster and keep the results.

The shipped ONNX files are tuned for ONNX Runtime: `training/make_mtcnn_onnx.py` expands PReLU,
which is faster there. This module restores the operator and the memory layout that OpenVINO
prefers.
"""

from typing import Any

import numpy as np

from mask_detector_ros.inference.openvino_import import opset13, ov, preprocess
from mask_detector_ros.inference.session import Array, TensorInfo


def restore_prelu(network: Any) -> None:
    """Restore for OpenVINO the PReLU operators that the cascade's files expand for ONNX Runtime.

    They contain slope * x + relu((1 - slope) * x), or (1 - slope) * relu(x) as the second term,
    as depthwise convolutions (training/make_mtcnn_onnx.py). In OpenVINO the operator saves a fifth
    of O-Net's time.
    """
    for add in network.get_ordered_ops():
        if add.get_type_name() != "Add":
            continue
        straight, bent = (add.input_value(i).get_node() for i in (0, 1))
        kinds = {bent.get_type_name()}
        if straight.get_type_name() != "GroupConvolution" or not bent.inputs():
            continue
        inner = bent.input_value(0).get_node()
        kinds.add(inner.get_type_name())
        source = straight.input_value(0)
        if kinds != {"Relu", "GroupConvolution"} or inner.input_value(0) != source:
            continue
        scale = inner if inner.get_type_name() == "GroupConvolution" else bent
        slope = _constant(straight)
        if not np.allclose(_constant(scale), 1 - slope):
            continue
        prelu = opset13.prelu(source, opset13.constant(slope))
        for target in add.output(0).get_target_inputs():
            target.replace_source_output(prelu.output(0))
    network.validate_nodes_and_infer_types()


def convert_rows(network: Any) -> None:
    """Let an OpenVINO graph convert uint8 (N, H, W, C) inputs to float32 as (N, H, W * C) before it
    transposes them.

    Otherwise OpenVINO transposes the bytes, converts them and reorders the floats, which takes a
    fifth of the proposal network's time. It moves a conversion behind a transposition, but not
    behind a reshape; and the transposition of floats then takes no time, since the first
    convolution wants the channels last.
    """
    for parameter in network.get_parameters():
        shape = parameter.get_partial_shape()
        if parameter.get_element_type() != ov.Type.u8 or shape.rank != 4 or shape[3].is_dynamic:
            continue
        for convert in (target.get_node() for target in parameter.output(0).get_target_inputs()):
            targets = convert.output(0).get_target_inputs()
            kinds = {convert.get_type_name(), *(t.get_node().get_type_name() for t in targets)}
            if kinds != {"Convert", "Transpose"}:
                continue
            rows = opset13.reshape(parameter, opset13.constant(np.array([0, 0, -1])), True)
            floats = opset13.convert(rows, convert.get_element_type().to_string())
            sides = opset13.constant(np.array([0, 0, -1, shape[3].get_length()]))
            images = opset13.reshape(floats, sides, True)
            for target in targets:
                target.replace_source_output(images.output(0))
    network.validate_nodes_and_infer_types()


def is_image(tensor: TensorInfo) -> bool:
    """Whether an OpenVINO graph's input takes colour images, channels first."""
    return tensor.dtype == np.float32 and len(tensor.shape) == 4 and tensor.shape[1] == 3


def with_channels_last(network: Any, which: list[bool]) -> Any:
    """Change these inputs of an OpenVINO graph to (N, H, W, 3), the memory layout of images, which
    OpenVINO also prefers."""
    steps = preprocess.PrePostProcessor(network)
    for index, chosen in enumerate(which):
        if chosen:
            steps.input(index).tensor().set_layout(ov.Layout("NHWC"))
            steps.input(index).model().set_layout(ov.Layout("NCHW"))
    return steps.build()


def split_flat_maps(network: Any) -> None:
    """Split feature maps of an OpenVINO graph along channels as rows of (N, C, H * W).

    OpenVINO stores maps channels-last and splits those with its slow reference code, which takes a
    twentieth of P-Net's time.
    """
    for node in network.get_ordered_ops():
        maps = node.input_value(0) if node.get_type_name() == "VariadicSplit" else None
        if maps is None or maps.get_partial_shape().rank != 4 or _number(node, 1) != 1:
            continue
        sides = opset13.gather(
            opset13.shape_of(maps), opset13.constant([2, 3]), opset13.constant(0)
        )
        as_before = opset13.concat([opset13.constant(np.array([0, 0])), sides], 0)
        rows = opset13.reshape(maps, opset13.constant(np.array([0, 0, -1])), True)
        parts = opset13.variadic_split(rows, node.input_value(1), node.input_value(2))
        for old, new in zip(node.outputs(), parts.outputs(), strict=True):
            replacement, names = opset13.reshape(new, as_before, True).output(0), old.get_names()
            old.set_names(set())
            replacement.set_names(names)
            for target in old.get_target_inputs():
                target.replace_source_output(replacement)
    network.validate_nodes_and_infer_types()


def _number(node: Any, index: int) -> int | None:
    """The constant input of a node; None for a computed input."""
    source = node.input_value(index).get_node()
    return int(source.get_data().item()) if source.get_type_name() == "Constant" else None


def _constant(convolution: Any) -> Array:
    """(C,) weights of a depthwise 1x1 convolution; NaN for any other."""
    node = convolution.input_value(1).get_node()
    while node.get_type_name() == "Reshape":
        node = node.input_value(0).get_node()
    shape = list(convolution.input_value(1).get_shape())
    if node.get_type_name() != "Constant" or shape[1:] != [1] * 4:
        return np.full(1, np.nan, np.float32)
    return np.array(node.get_data(), np.float32).reshape(-1)
