# SPDX-License-Identifier: Apache-2.0
"""The referee: wrong settings are warned of with the right ones, and right ones are not."""

import json

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from convert_to_trt.classifier_settings import PRESETS, Settings  # noqa: E402
from convert_to_trt.face_crops import SHEET, read_crops, render_sheet, rendered_crops  # noqa: E402
from convert_to_trt.keras_to_onnx import main  # noqa: E402
from convert_to_trt.referee import Verdict  # noqa: E402
from convert_to_trt.referee_evidence import Evidence, gather  # noqa: E402
from convert_to_trt.referee_fits import Fit, measure_fit  # noqa: E402
from convert_to_trt.referee_table import main as tabulate  # noqa: E402
from mask_detector_ros.models import models_directory  # noqa: E402

SIDE = 96
NAMES = ("Con máscara", "Sin máscara", "Mal puesta")
RIGHT = {"labels": ",".join(NAMES), "preprocess": "unit", "color": "BGR"}


def students_model(scale=255.0, offset=0.0):
    """The shipped classifier as another's: takes floats, and says nothing of itself."""
    model = onnx.load(models_directory() / "mask_classifier.onnx")
    del model.metadata_props[:]
    graph = model.graph
    old = graph.input[0].name
    nodes = [
        helper.make_node("Add", ["image", "plus"], ["moved"]),
        helper.make_node("Mul", ["moved", "by"], ["pixels"]),
        helper.make_node("Clip", ["pixels", "least", "most"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], [old], to=TensorProto.UINT8),
    ]
    for i, node in enumerate(nodes):
        graph.node.insert(i, node)
    numbers = {"plus": offset, "by": scale, "least": 0.0, "most": 255.0}
    for name, value in numbers.items():
        graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    shape = ["n", SIDE, SIDE, 3]
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, shape))
    return model


@pytest.fixture
def convert(tmp_path, capsys):
    """Convert the model with options by name, and give the exit code, the report and stderr."""

    def run(*words, model=None, **options):
        source, target = tmp_path / "theirs.onnx", tmp_path / "out.onnx"
        onnx.save(students_model() if model is None else model, source)
        flags = [part for k, v in options.items() if v for part in (f"--{k}", v)]
        code = main([str(source), "-o", str(target), "--json", *flags, *words])
        said = capsys.readouterr()
        told = {}
        if target.exists():
            told = {entry.key: entry.value for entry in onnx.load(target).metadata_props}
        return code, json.loads(said.out) if said.out else None, said.err, told

    return run


def test_the_sheet_of_rendered_faces_is_what_the_command_draws():
    pytest.importorskip("skimage", reason="needs the extra `sample`")
    drawn, kept = render_sheet().astype(int), cv2.imread(str(SHEET)).astype(int)
    assert drawn.shape == kept.shape
    assert np.abs(drawn - kept).mean() < 4
    crops = rendered_crops()
    assert len(crops.images) == len(crops.roles) == 48


def test_right_settings_are_not_warned_of(convert):
    code, report, err, _ = convert(**RIGHT)
    assert code == 0, err
    assert report["warning"] == ""
    assert "warning" not in err
    assert report["referee"]["given"]["agreement"] > 0.9


@pytest.mark.parametrize(
    ("wrong", "better"),
    [
        ({"labels": "Sin máscara,Con máscara,Mal puesta"}, "'Con máscara,Sin máscara,Mal puesta'"),
        ({"preprocess": "none"}, "--preprocess unit --color BGR"),
        ({"preprocess": "mobilenet_v2"}, "--preprocess unit --color BGR"),
        (
            {"labels": "Sin máscara,Con máscara,Mal puesta", "preprocess": "none"},
            "'Con máscara,Sin máscara,Mal puesta' --preprocess unit --color BGR",
        ),
    ],
    ids=["order", "none for unit", "mobilenet_v2 for unit", "order and none for unit"],
)
def test_wrong_settings_are_warned_of_with_the_right_ones_and_not_changed(convert, wrong, better):
    code, report, err, told = convert(**{**RIGHT, **wrong})
    assert code == 0
    last = err.splitlines()[-1]
    assert last.startswith("warning: another setting fits")
    assert better in last
    assert "Nothing was changed" in last
    assert report["warning"] in last
    assert json.loads(told["labels"]) == {**RIGHT, **wrong}["labels"].split(",")


MASKED = np.arange(80) % 2 == 0


def fit(preset, separation, agreement=0.9, spread=5.0, level=5.0, likelihood=0.0):
    """A fit of 80 crops of which every second one shows a mask."""
    settings = Settings(("mask", "none"), "RGB", 1, 0, 0, ("with_mask", "without_mask"))
    gains = np.stack([np.full(80, separation), np.full(80, likelihood)])
    pixels = settings.with_pixels(PRESETS[preset])
    return Fit(pixels, agreement, separation, gains, spread, level)


def verdict(given, *others):
    roles = np.where(MASKED, "with_mask", "without_mask")
    evidence = Evidence(rendered_crops(), roles, 80, False)
    rows = tuple(sorted((given, *others), key=lambda f: -f.score))
    return Verdict(evidence, MASKED, np.ones(80, bool), given, rows)


def better(given, *others):
    found = verdict(given, *others).better
    return found and found.settings.to_options().split()[-1]


def test_a_common_range_is_recommended_before_a_rare_one():
    given = fit("unit", 0.6)
    assert better(given, fit("imagenet", 0.92), fit("mobilenet_v2", 0.9)) == "mobilenet_v2"


def test_a_model_that_prefers_one_label_is_judged_by_the_order_of_faces():
    assert better(fit("unit", 0.7, agreement=0.6), fit("none", 0.85, agreement=0.55)) == "none"


def test_settings_that_separate_alike_are_told_apart_by_the_likelihood_of_labels():
    given = fit("mobilenet_v2", 1.0, likelihood=-0.05)
    assert better(given, fit("unit", 1.0, agreement=1.0)) == "unit"
    assert better(given, fit("unit", 1.0, agreement=0.7)) is None


@pytest.mark.parametrize(
    ("odds", "symptom"),
    [
        ({"spread": 0.02, "level": 0.5}, "its probabilities are much the same for every face"),
        ({"spread": 900.0, "level": 800.0}, "its probabilities are 0 or 1 for nearly every face"),
    ],
    ids=["unresponsive", "saturated"],
)
def test_odds_out_of_range_are_warned_of_though_faces_are_separated_as_well(odds, symptom):
    found = verdict(fit("unit", 0.9, **odds), fit("none", 0.9))
    assert found.better.settings.to_options().endswith("--preprocess none")
    assert symptom in found.warning


def test_a_setting_that_does_not_separate_faces_is_never_recommended():
    assert better(fit("unit", 0.4, agreement=0.5), fit("none", 0.53, agreement=0.6)) is None


def test_a_difference_within_its_error_is_not_warned_of():
    given, noisy = fit("unit", 0.8), fit("none", 0.9)
    noisy.gains[0] += np.tile([0.9, 0.9, -0.9, -0.9], 20)
    assert better(given, noisy) is None


def test_placements_are_the_area_under_the_roc_curve():
    settings = fit("unit", 0.5).settings
    chances = np.array([0.9, 0.2, 0.6, 0.6, 0.3, 0.1])
    fits = measure_fit(
        settings,
        np.stack([chances, 1 - chances], axis=1),
        np.array([True, False, True, False, True, False]),
        np.ones(6, bool),
    )
    # Of nine pairs one is a tie and one is in the wrong order.
    assert fits.separation == pytest.approx(7.5 / 9)
    assert fits.agreement == pytest.approx(2 / 3)


def test_the_report_shows_a_table_with_the_given_setting(tmp_path, capsys):
    source = tmp_path / "theirs.onnx"
    onnx.save(students_model(), source)
    words = [part for k, v in RIGHT.items() for part in (f"--{k}", v)]
    assert main([str(source), "-o", str(tmp_path / "out.onnx"), *words]) == 0
    out = capsys.readouterr().out
    assert "24 masked, 24 bare rendered faces" in out
    (given,) = [line for line in out.splitlines() if line.endswith("<- given")]
    assert "--preprocess unit --color BGR" in given


def test_auto_takes_what_is_not_given_and_says_so(convert):
    labels = "with_mask,without_mask,mask_worn_incorrectly"
    code, report, err, told = convert(settings="auto", labels=labels, color="BGR")
    assert code == 0, err
    assert float(told["scale"]) == pytest.approx(1 / 255)
    assert report["referee"]["given"]["options"].endswith("--preprocess unit --color BGR")
    assert told["color"] == "BGR"


def test_auto_names_three_labels_by_their_roles_where_none_are_given(convert):
    code, _, err, told = convert(settings="auto", color="BGR", preprocess="unit")
    assert code == 0, err
    assert json.loads(told["labels"]) == ["with_mask", "without_mask", "mask_worn_incorrectly"]


def test_auto_never_changes_what_was_given(convert):
    code, report, err, told = convert("--settings", "auto", **{**RIGHT, "preprocess": "none"})
    assert code == 0, err
    assert told["scale"] == "1.0"
    assert "--preprocess unit" in report["warning"]


def test_auto_without_clear_evidence_is_an_error(convert):
    model = students_model()
    # The same answer to everything.
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nothing"))
    model.graph.node[1].input[1] = "nothing"
    labels = "with_mask,without_mask,mask_worn_incorrectly"
    code, _, err, told = convert(settings="auto", labels=labels, model=model)
    assert code == 2
    assert "under no setting" in err
    assert not told


def test_labels_that_mean_something_else_are_not_judged(convert):
    code, report, err, _ = convert(**{**RIGHT, "labels": "warm,cold,wet"})
    assert code == 0, err
    assert report["referee"] is None


@pytest.fixture
def folder(tmp_path):
    """The rendered faces as a user's crops, one folder for each label."""
    crops = rendered_crops()
    for i, (image, role) in enumerate(zip(crops.images, crops.roles, strict=True)):
        place = tmp_path / "faces" / {"with_mask": "Con máscara"}.get(role, "no mask")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return tmp_path / "faces"


def test_folders_named_after_labels_or_their_meaning_say_what_the_crops_show(folder):
    crops = read_crops(folder, NAMES, ("with_mask", "without_mask", "mask_worn_incorrectly"))
    assert crops.roles.count("with_mask") == crops.roles.count("without_mask") == 24
    evidence = gather(crops)
    assert (evidence.counts, evidence.own, evidence.known) == ((24, 24), 48, True)


def test_unlabelled_crops_are_judged_by_the_shipped_classifier(convert, folder, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        path.rename(plain / f"{i}.png")
    code, report, err, _ = convert(
        **{**RIGHT, "labels": "Sin máscara,Con máscara,Mal puesta"}, crops=str(plain)
    )
    assert code == 0, err
    assert report["referee"]["rendered"] is False
    assert "the shipped classifier" in report["warning"]
    assert report["parity"]["face_crops"] == 48


def test_the_table_says_of_each_model_what_was_warned_of(tmp_path, capsys):
    onnx.save(students_model(), tmp_path / "theirs.onnx")
    table = tmp_path / "models.csv"
    table.write_text(
        'model,labels,preprocess,color\ntheirs.onnx,"with_mask,without_mask,incorrect",unit,BGR\n'
    )
    assert tabulate([str(table), "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert not record["right"]["warned"]
    assert record["order"]["warned"]
    assert record["pixels"]["warned"]
    assert tabulate([str(table)]) == 0
    assert "order: warned of 1 of 1" in capsys.readouterr().out
    assert tabulate([str(tmp_path / "none.csv")]) == 2
