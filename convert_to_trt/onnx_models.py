# SPDX-License-Identifier: Apache-2.0
"""Read ONNX models, check them, and simplify them to the form that the node takes."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as state

from convert_to_trt.input_form import InputForm
from convert_to_trt.loaded_network import Run
from convert_to_trt.old_onnx import modernise
from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.session import Array

OPSET = 17
IR_VERSION = 8
"""Opset and IR versions that TensorRT 8.5 and old ONNX Runtimes on robots read."""

_ELEMENTWISE = ("Cast", "Identity", "Mul", "Div", "Add", "Sub", "Clip", "BatchNormalization")

RUNTIME_ERRORS = (
    *(state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf),
    *(state.NotImplemented, state.RuntimeException),
)
"""Exceptions of ONNX Runtime for a network that it cannot load or run; they have no common base."""


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX model, its external data included.

    Raises:
        ModelError: it is damaged, or weights that it keeps in another file are missing.
    """
    try:
        model = modernise(onnx.load(path), str(path))
        onnx.checker.check_model(model)
        # PyTorch's exporter groups operations into functions of the file's own.
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except (OSError, DecodeError, ValueError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        if "should be stored in" in reason:
            raise ModelError(
                f"{path} keeps its weights in another file ({reason}); copy that file beside it"
            ) from error
        raise ModelError(f"{path} is damaged or no ONNX file ({reason}); get it again") from error
    return model


def require_standard_operations(model: onnx.ModelProto, name: str) -> None:
    """Raise ModelError if an ONNX model has operations outside the ONNX standard.

    ONNX Runtime runs some, such as `com.microsoft.FusedConv`; TensorRT and OpenVINO run none.

    Raises:
        ModelError: it has; the message names them.
    """
    unknown = {
        f"{node.domain}.{node.op_type}".lstrip(".")
        for node in nodes_of(model.graph)
        if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type)
    }
    if any(operation.startswith("ai.onnx.ml.") for operation in unknown):
        raise ModelError(
            f"{name} is a classical model ({', '.join(sorted(unknown)[:6])}), such as scikit-learn"
            " makes, which takes a table of features; the node needs a network that takes face"
            " crops"
        )
    if unknown:
        raise ModelError(
            f"{name} uses operations that ONNX lacks: {', '.join(sorted(unknown)[:6])}; export"
            " it again without them, and without optimising it for one runtime"
        )


def nodes_of(graph: Any) -> Iterator[Any]:
    """Every node of an ONNX model's graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes_of(attribute.g)


def find_form(
    model: onnx.ModelProto, size: int | None, name: str, default_size: int = 0
) -> InputForm:
    """Determine the crops that an ONNX model takes, from the shape and type of its input.

    Args:
        model: the network.
        size: the side, for a network that takes any.
        name: name of the model in errors.
        default_size: the side where the network takes any, and `size` is not given.

    Raises:
        ModelError: the input is not a batch of images, or its size is unknown.
    """
    tensor = model.graph.input[0].type.tensor_type
    shape = [d.dim_value for d in tensor.shape.dim]
    channels = (1, 3, 4)
    seen_layout, seen_channels = _layout_of_operations(model)
    if not any(shape[1:]) and seen_layout:
        shape = [0, 0, 0, 0]
        shape[3 if seen_layout == "NHWC" else 1] = seen_channels
    elif not any(shape):
        raise ModelError(
            f"{name} leaves the shape of its input open; export it with a fixed number of channels"
        )
    if len(shape) != 4 or (shape[3] not in channels and shape[1] not in channels):
        shown = ", ".join(str(side or "?") for side in shape)
        raise ModelError(
            f"{name} takes ({shown}), not a batch of colour images (N, H, W, 3) or grey ones"
            " (N, H, W, 1)"
        )
    is_nhwc = shape[3] in channels and not (shape[3] != 3 and shape[1] == 3)
    if shape[1] in channels and shape[3] in channels and seen_layout:
        is_nhwc = seen_layout == "NHWC"
    layout, sides = ("NHWC", shape[1:3]) if is_nhwc else ("NCHW", shape[2:])
    if not any(sides):
        size = size or default_size
    if not any(sides) and not size:
        raise ModelError(f"{name} takes crops of any size; say with --size which it was trained on")
    height, width = (side or size or max(sides) for side in sides)
    if size and size not in (height, width):
        raise ModelError(f"{name} takes crops of {height}x{width} pixels, not of --size {size}")
    return InputForm(layout, height, width, tensor.elem_type, shape[3 if is_nhwc else 1])


def _layout_of_operations(model: onnx.ModelProto) -> tuple[str, int]:
    """Layout and number of channels that the first operations of a network take; "" and 0 if they
    do not tell: a convolution takes NCHW, behind a transposition NHWC."""
    graph = model.graph
    kernels = {tensor.name: tensor.dims for tensor in graph.initializer}
    value, layout = graph.input[0].name, "NCHW"
    while True:
        readers = [n for n in graph.node if value in n.input and n.op_type != "Shape"]
        if len(readers) != 1:
            return "", 0
        (node,) = readers
        if node.op_type == "Conv" and node.input[1] in kernels:
            return layout, int(kernels[node.input[1]][1])
        if node.op_type == "Transpose":
            orders = [list(a.ints) for a in node.attribute if a.name == "perm"]
            layout = "NHWC" if orders == [[0, 3, 1, 2]] else "NCHW"
        elif node.op_type not in _ELEMENTWISE:
            return "", 0
        value = node.output[0]


def computes_in_half(model: onnx.ModelProto) -> bool:
    """Whether an ONNX model computes in half precision somewhere."""
    half = onnx.TensorProto.FLOAT16
    casts = (node for node in nodes_of(model.graph) if node.op_type == "Cast")
    return any(tensor.data_type == half for tensor in model.graph.initializer) or any(
        attribute.i == half for node in casts for attribute in node.attribute
    )


def batch_of(model: onnx.ModelProto) -> int:
    """The fixed batch size of an ONNX model; 0 if it is dynamic."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims else 0


def fold(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Fold an ONNX model's constants, and batch normalisation into convolutions.

    This is ONNX Runtime's basic optimisation, which adds no custom operations.

    Raises:
        ModelError: ONNX Runtime cannot load the network.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(target)
        _load(model, options, f"what {name} became")
        folded = onnx.load(target)
    used = {node.domain for node in folded.graph.node} | {""}
    kept = [entry for entry in folded.opset_import if entry.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    del folded.graph.value_info[:]
    oldest = helper.find_min_ir_version_for(kept, ignore_unknown=True)
    folded.ir_version = min(folded.ir_version, max(IR_VERSION, oldest))
    return folded


def onnx_runner(model: onnx.ModelProto, name: str) -> Run:
    """Make a function that runs an ONNX model with one input and one output of any types on the
    CPU.

    Raises:
        ModelError: it cannot be loaded; the function raises it if it does not run.
    """
    options = ort.SessionOptions()
    # Threads that wait in a loop cost more than they save where other programs run.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = _load(model, options, name)
    fed = session.get_inputs()[0].name

    def run(batch: Array) -> Array:
        try:
            result: Array = session.run(None, {fed: batch})[0]
            return result
        except RUNTIME_ERRORS as error:
            raise not_any_number(name, " ".join(str(error).split())[:300]) from error

    return run


def _load(model: onnx.ModelProto, options: ort.SessionOptions, what: str) -> ort.InferenceSession:
    try:
        content = model.SerializeToString()
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (RuntimeError, ValueError, *RUNTIME_ERRORS) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"ONNX Runtime cannot load {what} ({reason})") from error


def with_output(model: onnx.ModelProto, value: str) -> onnx.ModelProto:
    """Cut an ONNX model: a copy that ends at one of its inner values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.append(helper.make_empty_tensor_value_info(value))
    return copy


def not_any_number(name: str, reason: str) -> ModelError:
    return ModelError(
        f"{name} does not take any number of crops ({reason}); export it with a dynamic batch size"
    )


def count_batch_normalisations(model: onnx.ModelProto) -> int:
    """Number of batch normalisations in an ONNX model that could not be folded into a
    convolution."""
    return sum(node.op_type == "BatchNormalization" for node in model.graph.node)


def set_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    """Add metadata to an ONNX model, replacing equal keys, in place."""
    helper.set_model_props(model, {**get_metadata(model), **metadata})


def get_metadata(model: onnx.ModelProto) -> dict[str, str]:
    """The metadata of an ONNX model."""
    return {entry.key: entry.value for entry in model.metadata_props}
