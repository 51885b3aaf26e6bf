"""ONNX files in the form that the node takes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as state

from mask_detector_ros.errors import ModelError

OPSET = 17
IR_VERSION = 8
"""What TensorRT 8.5 and old ONNX Runtimes on robots read."""

RUNTIME_ERRORS = (
    *(state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf),
    *(state.NotImplemented, state.RuntimeException),
)
"""What ONNX Runtime raises for a network that it cannot load or run; they have no common base."""


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file.

    Raises:
        ModelError: it is damaged, or has not one input and one output.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (OSError, DecodeError, ValueError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} is damaged or no ONNX file ({reason}); get it again") from error
    # Old writers list the weights among the inputs too.
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [tensor for tensor in model.graph.input if tensor.name not in weights]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise ModelError(
            f"{path} has {len(inputs)} inputs and {len(model.graph.output)} outputs; a mask"
            " classifier takes one batch of crops and gives one of probabilities"
        )
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def find_layout(model: onnx.ModelProto, size: int | None, name: str) -> tuple[str, int]:
    """Channel order and side of the crops that a network takes, by the shape of its input.

    Args:
        model: the network.
        size: the side, for a network that takes any; must agree with one that does not.
        name: what to call the model in errors.

    Returns:
        `NHWC` or `NCHW`, and the side in pixels.

    Raises:
        ModelError: the input is no batch of square colour images, or the side is not known.
    """
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    if len(shape) != 4 or (shape[3] != 3 and shape[1] != 3):
        shown = ", ".join(str(side or "?") for side in shape)
        raise ModelError(f"{name} takes ({shown}), not a batch of colour images (N, H, W, 3)")
    layout, sides = ("NHWC", shape[1:3]) if shape[3] == 3 else ("NCHW", shape[2:])
    known = {side for side in (*sides, size) if side}
    if not known:
        raise ModelError(f"{name} takes crops of any size; say with --size which it was trained on")
    if len(known) > 1:
        raise ModelError(f"{name} takes crops of {sides[0]}x{sides[1]} pixels, not one square size")
    return layout, known.pop()


def set_input(model: onnx.ModelProto, layout: str, side: int) -> None:
    """Name the input `crops`, any number of them, in place."""
    graph = model.graph
    tensor = graph.input[0]
    for node in graph.node:
        for i, source in enumerate(node.input):
            if source == tensor.name:
                node.input[i] = "crops"
    shape: list[str | int | None] = (
        ["batch", side, side, 3] if layout == "NHWC" else ["batch", 3, side, side]
    )
    renamed = helper.make_tensor_value_info("crops", tensor.type.tensor_type.elem_type, shape)
    del graph.input[:]
    graph.input.append(renamed)
    # Shapes noted by the writer of the file may hold the old batch size.
    del graph.value_info[:]


def fold(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The same network with constants computed and batch normalisation in the convolutions.

    This is the basic optimisation of ONNX Runtime, which uses no operations of its own.

    Raises:
        ModelError: ONNX Runtime cannot load the network.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(target)
        try:
            ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        except (RuntimeError, ValueError, *RUNTIME_ERRORS) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"ONNX Runtime cannot load what {name} became ({reason})") from error
        folded = onnx.load(target)
    used = {node.domain for node in folded.graph.node} | {""}
    kept = [entry for entry in folded.opset_import if entry.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    del folded.graph.value_info[:]
    folded.ir_version = min(folded.ir_version, max(IR_VERSION, _oldest_ir(kept)))
    return folded


def count_batch_normalisations(model: onnx.ModelProto) -> int:
    """How many batch normalisations stand in the graph, for want of a convolution before them."""
    return sum(node.op_type == "BatchNormalization" for node in model.graph.node)


def set_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Add to the metadata of a model, over what it had, in place."""
    old = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**old, **metadata})


def get_metadata(model: onnx.ModelProto) -> dict[str, str]:
    """The metadata of a model."""
    return {entry.key: entry.value for entry in model.metadata_props}


def _oldest_ir(imports: list[Any]) -> int:
    return int(helper.find_min_ir_version_for(imports, ignore_unknown=True))
