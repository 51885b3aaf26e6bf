# SPDX-License-Identifier: Apache-2.0
"""Check the settings of a conversion with the referee: warn, or choose them for --settings auto."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from convert_to_trt.classifier_settings import AUTO, PRESETS, Settings, settle
from convert_to_trt.conversion_parity import CROPS_TOGETHER
from convert_to_trt.face_crops import FaceCrops
from convert_to_trt.input_form import InputForm, find_own_scaling
from convert_to_trt.onnx_models import not_any_number, onnx_runner, with_output
from convert_to_trt.referee import Classify, Verdict, judge
from convert_to_trt.referee_evidence import gather
from convert_to_trt.referee_fits import Fit
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.label_roles import ROLES

if TYPE_CHECKING:
    from convert_to_trt.conversion import Prepared


def settle_pixels(
    options: argparse.Namespace,
    known: dict[str, str],
    sources: dict[str, str],
    model: onnx.ModelProto,
    form: InputForm,
) -> Settings:
    """Complete the conversion settings with what the network itself reveals about its pixels; add
    where it comes from to `sources`."""
    known = dict(known)
    own = find_own_scaling(model)
    if form.is_pixels or (own is not None and abs(own[0]) < 1 / 16):
        # Integers have no scale, and a network that scales its input takes pixels.
        if form.is_pixels or "scale" not in known:
            known |= {"scale": "1.0", "offset": "0.0"}
            revealed = "its integer input" if form.is_pixels else "the scaling in the network"
            sources["scale"] = revealed
        if known.setdefault("color", "RGB") == "RGB":
            sources.setdefault("color", "the usual order, RGB, which the file does not tell")
    if form.channels == 1:
        known.setdefault("color", "RGB")
    if options.settings == AUTO:
        dims = model.graph.output[0].type.tensor_type.shape.dim
        count = max(2, min(dims[-1].dim_value if dims else 0, len(ROLES)))
        labels = json.dumps(ROLES[:count])
        preset = PRESETS["mobilenet_v2"]
        pixels = {"scale": str(preset.scale), "offset": str(preset.offset)}
        known = {"labels": labels, "color": preset.color, **pixels, **known}
    settings = settle(options, known)
    if form.is_pixels:
        settings = replace(settings, scale=1.0, offset=0.0, mean=None, std=None)
    return settings


def describe_sources(
    options: argparse.Namespace, prepared: Prepared, settings: Settings
) -> list[str]:
    """Describe where the labels, the colour and the range that no option gives come from, and where
    an option contradicts the file."""
    has_channels = options.mean is not None or options.std is not None
    is_scaled = has_channels or options.scale is not None or options.offset is not None
    given = {
        "labels": options.labels is not None,
        "color": options.preprocess or options.color is not None,
        "scale": options.preprocess or is_scaled,
    }
    words = {"labels": "labels", "color": "colour", "scale": "range"}
    taken: dict[str, list[str]] = {}
    contradicted: dict[str, list[str]] = {}
    for key, is_given in given.items():
        if key in prepared.sources and (not is_given or _differs(key, prepared.known, settings)):
            kept = contradicted if is_given else taken
            kept.setdefault(prepared.sources[key], []).append(words[key])
    texts = [f"{' and '.join(what)} from {source}" for source, what in taken.items()]
    for source, what in contradicted.items():
        texts.append(f"{' and '.join(what)} as given; {source} says otherwise")
    return texts


def _differs(key: str, known: Mapping[str, str], settings: Settings) -> bool:
    """Whether a setting is another than the file says."""
    try:
        if key == "labels":
            return tuple(json.loads(known[key])) != settings.labels
        if key == "color":
            return known[key] != settings.color
        told = [float(known["scale"]), float(known["offset"])]
    except (ValueError, TypeError, KeyError):
        return False
    same_scale = np.allclose(told, [settings.scale, settings.offset], rtol=1e-3, atol=1e-3)
    return not same_scale or ("channel_mean" in known) != (settings.mean is not None)


def settle_by_referee(
    options: argparse.Namespace, prepared: Prepared, crops: FaceCrops | None
) -> tuple[Settings, Verdict | None]:
    """Let the referee judge the conversion settings; with `--settings auto` choose the best values
    of those not given.

    Args:
        options: options of the command.
        prepared: the network.
        crops: the user's crops; None to use only the rendered ones.

    Raises:
        ModelError: the network does not take any number of crops.
        ParameterError: `--settings auto`, and the evidence is not clear.
    """
    settings, evidence = prepared.settings, gather(crops)
    classify = make_classify(prepared, evidence.crops, str(options.input))
    varied = varied_parts(prepared.form)
    verdict = judge(classify, settings, evidence, varied, prepared.origin)
    if options.settings != AUTO:
        return settings, verdict
    return _take_best(options, prepared.known, settings, verdict)


def make_classify(prepared: Prepared, crops: FaceCrops, name: str) -> Classify:
    """Make a function from a setting to the network's probabilities; each colour and range runs
    once."""
    model, form, head = prepared.model, prepared.form, prepared.head
    run = onnx_runner(with_output(model, head.scores) if head.scores else model, name)
    pixels = crops.at(form.side)
    known: dict[tuple[object, ...], NDArray[np.float64]] = {}

    def classify(settings: Settings) -> NDArray[np.float64]:
        key = (settings.parts["color"], settings.parts["scale"])
        if key not in known:
            values = form.to_network(pixels, settings)
            starts = range(0, len(values), CROPS_TOGETHER)
            parts = [run(values[i : i + CROPS_TOGETHER]) for i in starts]
            found = np.concatenate(parts)
            known[key] = head.from_scores(found) if head.scores else found.astype(np.float64)
            if len(known[key]) != len(values):
                raise not_any_number(name, f"{len(known[key])} rows for {len(values)} crops")
        return known[key]

    return classify


def varied_parts(form: InputForm) -> tuple[str, ...]:
    """The conversion settings that can be wrong for a network: grey has no colour order, integers
    have no range."""
    color = ("color",) if form.channels == 3 else ()
    return ("labels", *color, *(() if form.is_pixels else ("scale",)))


def _take_best(
    options: argparse.Namespace,
    known: Mapping[str, str],
    settings: Settings,
    verdict: Verdict | None,
) -> tuple[Settings, Verdict | None]:
    fixed = _fixed(options, known)
    if len(fixed) == 3:
        return settings, verdict
    wanted = [settings.parts[name] for name in fixed]
    rows = [
        row
        for row in (verdict.rows if verdict else ())
        if [row.settings.parts[name] for name in fixed] == wanted
    ]
    if verdict is None or not rows or rows[0].separation < verdict.least_separation:
        raise ParameterError(
            "--settings auto: the shipped classifier and this model agree under no setting; give"
            " --labels and --preprocess, and --crops with faces like those it was trained on"
        )
    # A rare range must be clearly better than every common one.
    common = [row for row in rows if not row.is_rare] or rows
    best = rows[0] if verdict.is_clear(rows[0], common[0]) else common[0]
    unclear = [
        f"--{'preprocess' if name == 'scale' else name}"
        for name in ("labels", "color", "scale")
        if name not in fixed and not _is_clear(verdict, best, rows, name)
    ]
    if unclear:
        raise ParameterError(
            f"--settings auto: the evidence is not clear for {', '.join(unclear)}; give it, or more"
            f" crops with --crops; the best so far is {best.settings.to_options()}"
            f" ({best.agreement:.0%})"
        )
    return best.settings, replace(verdict, given=best, chosen="taken")


def _fixed(options: argparse.Namespace, known: Mapping[str, str]) -> list[str]:
    """Which of `labels`, `color` and `scale` are given, or known from the file."""
    has_channels = options.mean is not None or options.std is not None
    given = {
        "labels": options.labels is not None,
        "color": bool(options.color or options.preprocess or has_channels),
        "scale": options.scale is not None or bool(options.preprocess) or has_channels,
    }
    return [name for name, is_given in given.items() if is_given or name in known]


def _is_clear(verdict: Verdict, best: Fit, rows: list[Fit], name: str) -> bool:
    """Whether the best setting is clearly better than each with another value of this one."""
    mine = best.settings.parts[name]
    others = [
        row
        for row in rows
        if row.settings.parts[name] != mine and (name != "scale" or not row.is_rare)
    ]
    return not others or verdict.is_clear(best, others[0])
