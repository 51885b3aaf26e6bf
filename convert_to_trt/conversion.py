# SPDX-License-Identifier: Apache-2.0
"""Convert a model file to ONNX and compare the two."""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from convert_to_trt.choose_settings import describe_sources, settle_by_referee, settle_pixels
from convert_to_trt.classifier_settings import Settings
from convert_to_trt.conversion_parity import (
    HALF_LIMIT,
    PARITY_LIMIT,
    QUANTISED_LIMIT,
    OriginalSession,
    Parity,
    measure_parity,
    random_crops,
)
from convert_to_trt.conversion_report import Report
from convert_to_trt.face_crops import FaceCrops, read_crops, rendered_crops
from convert_to_trt.input_form import InputForm, require_single_scaling
from convert_to_trt.loaded_network import Network, Run, in_steps
from convert_to_trt.model_bundles import ModelBundle, open_bundle
from convert_to_trt.model_files import FROZEN_GRAPH, ONNX, SAVED_MODEL, TFJS_GRAPH, TFLITE
from convert_to_trt.old_onnx import opset_of
from convert_to_trt.onnx_inputs_outputs import (
    choose_output,
    free_batch,
    free_names,
    read_named_labels,
    reject_other_task,
)
from convert_to_trt.onnx_models import (
    OPSET,
    RUNTIME_ERRORS,
    batch_of,
    computes_in_half,
    count_batch_normalisations,
    find_form,
    fold,
    get_metadata,
    not_any_number,
    onnx_runner,
    read_onnx,
    require_standard_operations,
    set_metadata,
)
from convert_to_trt.output_head import Head, choose_head, require_probabilities
from convert_to_trt.tool_of_origin import Origin, find_origin
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.session import Array
from mask_detector_ros.opencv_log import silent_stderr
from mask_detector_ros.output_file import write_output

RENDERED = 16
"""Number of rendered faces to compare on, where the user gives none."""


def convert(options: argparse.Namespace) -> Report:
    """Convert a model file to ONNX, compare and write; nothing is written unless all steps succeed.

    Args:
        options: validated options of `keras_to_onnx`.

    Raises:
        ModelError: the input cannot be converted, or the result differs from it.
        ParameterError: an option is missing or does not fit the model.
        SourceError: an image in the folder of crops cannot be read.
    """
    # Report a failure in one line, without the log of the library's C++ code.
    ort.set_default_logger_severity(4)
    with open_bundle(options.input) as bundle:
        return _convert(options, bundle)


@dataclass(frozen=True)
class Prepared:
    """A model before its conversion: the loaded network, its output head, and its input form.

    Attributes:
        network: the network as loaded.
        model: ONNX with the output `probabilities`, for any number of crops, without the operations
            that `form` prepends.
        form: form of its crops.
        head: its head.
        known: information from the file and those beside it, as ONNX metadata.
        sources: where each entry of it comes from.
        settings: the given labels and preprocessing.
        origin: the tool that made it; None if unknown.
    """

    network: Network
    model: onnx.ModelProto
    form: InputForm
    head: Head
    known: dict[str, str]
    sources: dict[str, str]
    settings: Settings
    origin: Origin | None


def prepare(options: argparse.Namespace, bundle: ModelBundle) -> Prepared:
    """Prepare a conversion: load the network, determine its preprocessing, make its output
    probabilities.

    Raises:
        ModelError: it cannot be loaded, or is not a classifier.
        ParameterError: an option is missing or does not fit the model.
    """
    name = str(options.input)
    network = load(options, bundle)
    own = get_metadata(network.model)
    reject_other_task(own, name)
    model = free_names(network.model)
    form = find_form(model, options.size, name, int(bundle.metadata.get("input_size", 0)))
    origin = find_origin(network.model, form, own)
    known, sources = dict(bundle.metadata), dict(bundle.sources)
    for values, source in (
        (origin.metadata() if origin else {}, origin.describe() if origin else ""),
        *network.metadata,
        (read_named_labels(own), "the names in the file itself"),
        (own, "the file itself"),
    ):
        known |= values
        sources |= dict.fromkeys(values, source)
    settings = settle_pixels(options, known, sources, model, form)
    sample, is_onnx = _sample(network.run, form, settings), bundle.kind == ONNX
    head = choose_head(model, sample, options.logits, name, is_onnx)
    told = "--labels" if options.labels is not None else sources.get("labels", "--settings auto")
    _require_columns(head, settings, name, told)
    if (batch := batch_of(model)) > 0:
        free_batch(model, batch)
    form.declare(model)
    head.add_to(model)
    return Prepared(network, model, form, head, known, sources, settings, origin)


def _convert(options: argparse.Namespace, bundle: ModelBundle) -> Report:
    name = str(options.input)
    _step(1, f"loading {name} ({bundle.kind})")
    prepared = prepare(options, bundle)
    network, model, form = prepared.network, prepared.model, prepared.form
    _step(2, "folding constants and batch normalisation")
    crops = None
    if options.crops is not None:
        labels, roles = prepared.settings.labels, prepared.settings.roles
        crops = read_crops(options.crops.expanduser(), labels, roles)
    settings, verdict = settle_by_referee(options, prepared, crops)
    require_single_scaling(model, settings, name)
    form.add_to(model, settings)
    folded = fold(model, name)
    set_metadata(folded, settings.to_metadata(form.layout, form.side))
    _step(3, "comparing with the original")
    # Noise alone may drive a network into one corner, where every difference is 0.
    faces = crops or rendered_crops().few(RENDERED)
    parity = _compare(folded, prepared, settings, faces, options.output)
    parity.require(_parity_limit(prepared))
    _step(4, f"writing {options.output}")
    set_metadata(folded, {"converted_from": f"{options.input.name}, {network.framework}"})
    write_output(options.output, folded.SerializeToString())
    return Report(
        output=options.output,
        framework=network.framework,
        settings=settings,
        form=form,
        batch_normalisations=count_batch_normalisations(folded),
        parity=parity,
        verdict=verdict,
        conflict=prepared.origin.conflict(settings) if prepared.origin else "",
        notes=_notes(options, prepared, settings),
    )


def _parity_limit(prepared: Prepared) -> float:
    if prepared.network.is_quantised:
        return QUANTISED_LIMIT
    return HALF_LIMIT if computes_in_half(prepared.network.model) else PARITY_LIMIT


def _step(number: int, what: str) -> None:
    print(f"[{number}/4] {what}", file=sys.stderr, flush=True)


def load(options: argparse.Namespace, bundle: ModelBundle) -> Network:
    """Load the network to convert as ONNX, together with the original.

    Raises:
        ModelError: it cannot be loaded or translated, or carries code.
    """
    path, kind, name = bundle.path, bundle.kind, str(options.input)
    if kind == ONNX:
        model = read_onnx(path)
        choose_output(model, options.outputs, name)
        require_standard_operations(model, name)
        run, batch = onnx_runner(model, name), batch_of(model)
        return Network(model, in_steps(run, batch) if batch else run, "ONNX")
    # TensorFlow reads these on import: no start-up log, and no GPU.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # The import takes seconds, and the package may be missing if only ONNX is converted.
    with silent_stderr():
        from convert_to_trt import (
            keras_models,
            saved_models,
            tensorflow_js,
            tensorflow_lite,
            tensorflow_to_onnx,
        )

    ends = [[end] if end else [] for end in (options.inputs, options.outputs)]
    if kind == TFLITE:
        with silent_stderr():
            return tensorflow_lite.load_tensorflow_lite(path, OPSET, options.outputs, options.trust)
    if kind == SAVED_MODEL:
        original = saved_models.load_saved_model(path, options.trust, options.outputs)
    elif kind == FROZEN_GRAPH:
        original = saved_models.load_frozen_graph(path, options.trust, *ends)
    elif kind == TFJS_GRAPH:
        graph = tensorflow_js.read_graph_model(path)
        original = saved_models.load_graph(graph, path, kind, options.trust, *ends)
    else:
        original = keras_models.load_keras(bundle, options.trust, options.size, options.outputs)
    model = tensorflow_to_onnx.translate(original, OPSET, name)
    return Network(model, original.run, original.framework)


def _sample(run: Run, form: InputForm, settings: Settings) -> Array:
    """The original's output for crops of noise, and for black and white ones."""
    pixels = random_crops(form.side, 8)
    pixels = np.concatenate([pixels, 0 * pixels[:1], 0 * pixels[:1] + 255])
    return run(form.to_network(pixels, settings))


def _require_columns(head: Head, settings: Settings, name: str, source: str) -> None:
    if max(head.columns, 2) != len(settings.labels):
        raise ParameterError(
            f"{name} has {head.columns} output{'s' * (head.columns != 1)},"
            f" {source} names {len(settings.labels)}: {', '.join(settings.labels)}; give a name for"
            " each output with --labels"
        )


def _compare(
    folded: onnx.ModelProto,
    prepared: Prepared,
    settings: Settings,
    crops: FaceCrops,
    output: Path,
) -> Parity:
    network, form, head = prepared.network, prepared.form, prepared.head
    converted = create_session(folded.SerializeToString(), output.name, "onnxruntime")

    def original(batch: Array) -> Array:
        probabilities = head(network.run(form.prepare(batch, settings)))
        require_probabilities(probabilities, output.stem)
        return probabilities

    reference = OriginalSession(converted, original)
    try:
        return measure_parity(reference, converted, random_crops(form.side), crops.at(form.side))
    except RUNTIME_ERRORS as error:
        raise not_any_number(output.stem, " ".join(str(error).split())[:300]) from error


def _notes(options: argparse.Namespace, prepared: Prepared, settings: Settings) -> tuple[str, ...]:
    network, form, head = prepared.network, prepared.form, prepared.head
    notes = [head.note] if head.note else []
    notes += describe_sources(options, prepared, settings)
    if form.is_pixels and (options.scale is not None or options.preprocess not in (None, "none")):
        notes.append("the network takes pixels as whole numbers: no scale is used")
    if network.is_quantised:
        notes.append("the original computes in int8, the converted one in float")
    elif computes_in_half(network.model):
        notes.append("the network computes in half precision, and rounds differently elsewhere")
    opset = opset_of(network.model)
    if opset > OPSET:
        notes.append(
            f"the file has ONNX operations of version {opset}; TensorRT 8 reads up to {OPSET}: for"
            f" a board with it, export the model with opset_version={OPSET}"
        )
    if not all(settings.roles):
        unknown = [n for n, role in zip(settings.labels, settings.roles, strict=True) if not role]
        notes.append(
            f"nothing is known of the meaning of {', '.join(unknown)}: say it with --roles, for"
            " colours, alerts and evaluate"
        )
    return tuple(notes)
