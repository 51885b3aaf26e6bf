"""The steps from a model file to an ONNX file that was compared with it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tqdm import tqdm

from convert_to_trt.heads import append_head, require_probabilities, to_probabilities
from convert_to_trt.model_files import FROZEN_GRAPH, ONNX, SAVED_MODEL
from convert_to_trt.onnx_form import (
    OPSET,
    RUNTIME_ERRORS,
    count_batch_normalisations,
    find_layout,
    fold,
    get_metadata,
    read_onnx,
    set_input,
    set_metadata,
)
from convert_to_trt.output_file import write_file
from convert_to_trt.parity import (
    OriginalSession,
    Parity,
    measure_parity,
    random_crops,
    square_picture,
)
from convert_to_trt.settings import Settings, settle
from mask_detector_ros.errors import ModelError, ParameterError
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.base import Array
from mask_detector_ros.sources import list_images, read_image

CROPS_LIMIT = 256
"""Pictures of the folder of crops that are looked at; more of them tell nothing new."""

Run = Callable[[Array], Array]


@dataclass(frozen=True)
class Report:
    """What was made: the file, from what, and how close it is."""

    output: Path
    framework: str
    settings: Settings
    layout: str
    side: int
    batch_normalisations: int
    parity: Parity

    def to_record(self) -> dict[str, Any]:
        """As a JSON-ready dictionary."""
        return {
            "output": str(self.output),
            "framework": self.framework,
            "batch_normalisations": self.batch_normalisations,
            **self.settings.to_metadata(self.layout, self.side),
            "labels": list(self.settings.labels),
            "parity": self.parity.to_record(),
        }

    def describe(self) -> str:
        """As some lines of text."""
        parity = self.parity
        s = self.settings
        lines = [
            f"{self.output}: from {self.framework}",
            f"labels {', '.join(s.labels)}; {self.side}x{self.side} {s.color} {self.layout},"
            f" pixel * {s.scale:.6g} + {s.offset:g}, margin {s.margin:g}",
            f"parity over {parity.random_crops} random and {parity.real_crops} real crops:"
            f" max |dp| {parity.largest:.2g}, mean |dp| {parity.mean:.2g},"
            f" same label {parity.same_label:.1%}",
        ]
        if self.batch_normalisations:
            lines.append(f"{self.batch_normalisations} batch normalisations follow no convolution")
        return "\n".join(lines)


def convert(options: argparse.Namespace, kind: str) -> Report:
    """Convert, compare and write. Nothing is written unless all of it succeeds.

    Args:
        options: of `keras_to_onnx`, checked.
        kind: of the input, as of `model_files.find_kind`.

    Raises:
        ModelError: the input cannot be converted, or the result differs from it.
        ParameterError: an option is missing or does not fit the model.
        SourceError: a picture of the folder of crops cannot be read.
    """
    name = str(options.input)
    if kind != ONNX:
        # Before the long work, whatever needs no look into the model.
        settle(options, {})
    _step(1, f"loading {name} ({kind})")
    model, run, framework = _load(options, kind)
    settings = settle(options, get_metadata(model))
    layout, side = find_layout(model, options.size, name)
    _step(2, "folding constants and batch normalisation")
    columns = _count_columns(run, model, layout, side, name)
    if max(columns, 2) != len(settings.labels):
        raise ParameterError(
            f"{name} has {columns} output{'s' * (columns != 1)},"
            f" --labels names {len(settings.labels)}: {', '.join(settings.labels)}"
        )
    set_input(model, layout, side)
    append_head(model, columns, options.logits)
    folded = fold(model, name)
    set_metadata(folded, settings.to_metadata(layout, side))
    _step(3, "comparing with the original")
    parity = _compare(folded, run, options, side, name)
    parity.require()
    _step(4, f"writing {options.output}")
    set_metadata(folded, {"converted_from": f"{options.input.name}, {framework}"})
    write_file(options.output, folded.SerializeToString())
    left = count_batch_normalisations(folded)
    return Report(options.output, framework, settings, layout, side, left, parity)


def _step(number: int, what: str) -> None:
    print(f"[{number}/4] {what}", file=sys.stderr, flush=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what TensorFlow's C++ says on stderr while it is imported; no setting stops it."""
    sys.stderr.flush()
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _load(options: argparse.Namespace, kind: str) -> tuple[onnx.ModelProto, Run, str]:
    if kind == ONNX:
        model = read_onnx(options.input)
        return model, _onnx_run(model, str(options.input)), "ONNX"
    # TensorFlow takes seconds to import, and is missing where only ONNX is converted.
    with _quiet():
        from convert_to_trt import tensorflow_models, tensorflow_to_onnx

    if kind == SAVED_MODEL:
        original = tensorflow_models.load_saved_model(options.input, options.trust)
    elif kind == FROZEN_GRAPH:
        ends = [[name] if name else [] for name in (options.inputs, options.outputs)]
        original = tensorflow_models.load_frozen_graph(options.input, options.trust, *ends)
    else:
        original = tensorflow_models.load_keras(options.input, kind, options.trust, options.size)
    model = tensorflow_to_onnx.translate(original, OPSET, str(options.input))
    return model, original.run, original.framework


def _onnx_run(model: onnx.ModelProto, name: str) -> Run:
    session = create_session(model.SerializeToString(), name, "onnxruntime")
    (tensor,) = session.inputs
    step = tensor.shape[0] if tensor.shape and tensor.shape[0] > 0 else None

    def run(batch: Array) -> Array:
        size = step or len(batch)
        # A network of a fixed batch size gets its batches filled up with black.
        filled = np.concatenate(
            [batch, np.zeros((-len(batch) % size, *batch.shape[1:]), batch.dtype)]
        )
        try:
            parts = [
                next(iter(session.run(**{tensor.name: filled[i : i + size]}).values()))
                for i in range(0, len(filled), size)
            ]
        except RUNTIME_ERRORS as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"{name} does not run ({reason}); get the file again") from error
        return np.concatenate(parts)[: len(batch)]

    return run


def _count_columns(run: Run, model: onnx.ModelProto, layout: str, side: int, name: str) -> int:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    shape = (1, side, side, 3) if layout == "NHWC" else (1, 3, side, side)
    values = run(np.zeros(shape, dtype))
    if values.ndim != 2 or len(values) != 1:
        raise ModelError(
            f"{name} gives {values.shape} for one crop; a mask classifier gives one row,"
            " (1, number of labels)"
        )
    return int(values.shape[1])


def _compare(
    folded: onnx.ModelProto, run: Run, options: argparse.Namespace, side: int, name: str
) -> Parity:
    converted = create_session(folded.SerializeToString(), options.output.name, "onnxruntime")

    def original(batch: Array) -> NDArray[np.float32]:
        probabilities = to_probabilities(run(batch), options.logits)
        require_probabilities(probabilities, name)
        return probabilities

    real = np.empty((0, side, side, 3), np.uint8)
    if options.crops is not None:
        real = _read_crops(options.crops.expanduser(), side)
    reference = OriginalSession(converted, original)
    try:
        return measure_parity(reference, converted, random_crops(side), real)
    except RUNTIME_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{name} became a network that does not take any number of crops ({reason});"
            " export it with a free batch size"
        ) from error


def _read_crops(folder: Path, side: int) -> NDArray[np.uint8]:
    if not folder.is_dir():
        raise ParameterError(f"--crops must be a folder of pictures, got {folder}")
    paths = list_images(folder)[:CROPS_LIMIT]
    bar = tqdm(paths, unit="picture", desc="reading crops", disable=not sys.stderr.isatty())
    return np.stack([square_picture(read_image(path), side) for path in bar])
