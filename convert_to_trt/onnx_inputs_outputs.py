# SPDX-License-Identifier: Apache-2.0
"""Reduce an ONNX network to one input, a batch of images, and one output tensor."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import onnx
from onnx import TensorProto, compose, numpy_helper

from convert_to_trt.loaded_network import reject_detector
from convert_to_trt.model_label_files import parse_labels
from convert_to_trt.onnx_models import set_metadata
from mask_detector_ros.errors import ModelError, ParameterError

OWN_NAMES = (
    *("crops", "probabilities", "prepared_", "head_", "channel_", "mixing", "squeezing"),
    *("flat_rows", "whole_rows"),
)
"""Names that the converted network uses; no other value may have them."""

PREFIX = "network/"
"""Put before all names of a network that has one of `OWN_NAMES`."""


def choose_output(model: onnx.ModelProto, wanted: str | None, name: str) -> None:
    """Reduce an ONNX network to one input, one output, and the nodes that the output needs, in
    place.

    Args:
        model: the network. A classifier of Custom Vision or scikit-learn gives a label and a map
            from label to probability; the tensor behind the map is used, and its names are stored
            as the metadata `labels`.
        wanted: name of the output, if the user gave it.
        name: the model's name in errors.

    Raises:
        ModelError: there are several inputs, or several outputs and none is chosen.
    """
    graph = model.graph
    # Old writers list the weights among the inputs too.
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [tensor for tensor in graph.input if tensor.name not in weights]
    outputs = [tensor.name for tensor in graph.output]
    zipped = [node for node in graph.node if node.op_type == "ZipMap"]
    if wanted is None and len(zipped) == 1:
        _note_labels(model, zipped[0])
        wanted = zipped[0].input[0]
    elif wanted is None and len(outputs) == 1:
        (wanted,) = outputs
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs) or "none"
        raise ModelError(
            f"{name} has {len(inputs)} inputs ({names}); a mask classifier takes one batch of"
            " crops; export a model with that input alone"
        )
    if wanted is None:
        reject_detector(name, outputs)
        shown = "; ".join(f"{tensor.name} of ({_shape(tensor)})" for tensor in graph.output)
        raise ModelError(
            f"{name} has {len(outputs)} outputs; a mask classifier gives one batch of"
            f" probabilities; choose one with --outputs: {shown}"
        )
    made = {value for node in graph.node for value in node.output}
    if wanted not in made | set(outputs):
        raise ModelError(
            f"{name} has no output {wanted!r}, given as --outputs; it has {', '.join(outputs)}"
        )
    kept = next((tensor for tensor in graph.output if tensor.name == wanted), None)
    if kept is None:
        kept = onnx.ValueInfoProto(name=wanted)
        kept.type.tensor_type.elem_type = _element_of(model, wanted)
    kept = _copy(kept)
    _prune(graph, wanted)
    for field, tensors in ((graph.input, inputs), (graph.output, [kept])):
        copies = [_copy(tensor) for tensor in tensors]
        del field[:]
        field.extend(copies)
    used = {node.domain for node in graph.node} | {""}
    imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)


def read_named_labels(metadata: Mapping[str, str]) -> dict[str, str]:
    """Read the labels that YOLOv5 and Ultralytics write into ONNX metadata as `names`."""
    try:
        labels = parse_labels(metadata.get("names", "").encode(), "names.yaml")
    except ParameterError:
        return {}
    return {"labels": json.dumps(labels, ensure_ascii=False)}


def reject_other_task(metadata: Mapping[str, str], name: str) -> None:
    """Raise ModelError if an ONNX model's metadata names another task than classification.

    Raises:
        ModelError: it does.
    """
    task = metadata.get("task", "classify") if "names" in metadata else "classify"
    if task != "classify":
        raise ModelError(
            f"{name} is an Ultralytics model for the task {task}; the node needs a classifier of"
            " face crops: train one with yolo classify train"
        )


def free_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rename inner ONNX values whose names the converted network's inputs and outputs use."""
    taken = (*names_of(model.graph), *(node.name for node in model.graph.node))
    if not any(name.startswith(OWN_NAMES) for name in taken):
        return model
    prefix = PREFIX
    while any(name.startswith(prefix) for name in taken):
        prefix = f"{prefix}{PREFIX}"
    renamed: onnx.ModelProto = compose.add_prefix(model, prefix)
    return renamed


def names_of(graph: Any) -> Iterator[str]:
    """Every name of a value in an ONNX graph, its subgraphs included."""
    for tensors in (graph.input, graph.output, graph.initializer):
        yield from (tensor.name for tensor in tensors)
    for node in graph.node:
        yield from (*node.input, *node.output)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from names_of(attribute.g)


def free_batch(model: onnx.ModelProto, batch: int) -> None:
    """Make the batch size in an ONNX network's inner shapes dynamic, in place.

    Args:
        model: a network with a fixed batch size.
        batch: that size.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    changed: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        shape = numpy_helper.to_array(constants[node.input[1]]).copy()
        if shape.ndim != 1 or not len(shape) or shape[0] < 1:
            continue
        # The first side holds the batch, alone or times others; -1 is what is left over for it.
        # Where another side is that, zero copies the size of the reshaped value.
        if -1 in shape and shape[0] != batch:
            continue
        shape[0] = 0 if -1 in shape else -1
        key = f"{node.input[1]}/any_batch"
        if node.input[1] not in changed:
            graph.initializer.append(numpy_helper.from_array(shape, key))
            changed[node.input[1]] = key
        node.input[1] = key


def _shape(tensor: Any) -> str:
    dims = tensor.type.tensor_type.shape.dim
    return ", ".join(str(dim.dim_value or "?") for dim in dims)


def _prune(graph: Any, wanted: str) -> None:
    """Drop the nodes and weights that `wanted` does not need."""
    makers = {value: node for node in graph.node for value in node.output}
    needed, ahead = set(), [wanted]
    while ahead:
        value = ahead.pop()
        if value in needed:
            continue
        needed.add(value)
        if value in makers:
            node = makers[value]
            needed.update(node.output)
            ahead += [*node.input, *_outer_names(node)]
    nodes = [node for node in graph.node if set(node.output) & needed]
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    kept_nodes, kept_tensors = [_copy(n) for n in nodes], [_copy(t) for t in tensors]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept_nodes)
    graph.initializer.extend(kept_tensors)


def _outer_names(node: Any) -> list[str]:
    graphs = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return [name for graph in graphs for name in names_of(graph)]


def _note_labels(model: onnx.ModelProto, node: Any) -> None:
    for attribute in node.attribute:
        if attribute.name == "classlabels_strings":
            labels = json.dumps([name.decode() for name in attribute.strings], ensure_ascii=False)
            set_metadata(model, {"labels": labels})


def _element_of(model: onnx.ModelProto, value: str) -> int:
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except onnx.shape_inference.InferenceError:
        return int(TensorProto.FLOAT)
    known = {tensor.name: tensor for tensor in inferred.graph.value_info}
    found = known[value].type.tensor_type.elem_type if value in known else 0
    return int(found or TensorProto.FLOAT)


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
