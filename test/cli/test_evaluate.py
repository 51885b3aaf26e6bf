# SPDX-License-Identifier: Apache-2.0
"""`mask-detector evaluate`."""

import csv
import json
import re
import shutil
import subprocess
import sys

import cv2
import pytest

from mask_detector_ros.cli import main
from mask_detector_ros.models import models_directory
from mask_detector_ros.sources.sample_scene import SampleScene

FAST = ("--threads", "1", "--min-face-size", "40")
HEADER = ("file", "xmin", "ymin", "xmax", "ymax", "label", "source", "split", "suspect")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Three frames of the sample scene with their ground truth; two are val, one is train."""
    folder = tmp_path_factory.mktemp("data") / "scene"
    (folder / "images").mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for index, split in ((0, "val"), (40, "val"), (80, "train")):
            image, truth = SampleScene().render(index)
            cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
            for box, label in zip(truth.boxes.tolist(), truth.labels, strict=True):
                writer.writerow([f"{index}.png", *box, label, "drawn", split, 0])
    return folder


@pytest.fixture
def flawed(scene, tmp_path):
    """The scene with two bad rows at the end."""
    folder = tmp_path / "flawed"
    shutil.copytree(scene, folder)
    with (folder / "labels.csv").open("a") as file:
        file.write("0.png,5,5,5,9,with_mask,drawn,val,0\nlost.png,5,5,9,9,helmet,drawn,val,0\n")
    return folder


def run(*arguments):
    """Run the command in a separate process, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "mask_detector_ros.cli", "evaluate", *map(str, arguments), *FAST],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_a_short_table_and_a_report_come_out(scene, tmp_path):
    output = tmp_path / "new" / "report"
    done = run(scene, "-o", output, "--split", "val")
    assert (done.returncode, done.stderr) == (0, "")
    for title in ("Detection at IoU 0.5", "Classification of the known boxes", "End to end"):
        assert title in done.stdout
    assert done.stdout.splitlines()[-1] == f"report: {output / 'report.html'}"
    assert (output / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    page = (output / "report.md").read_text(encoding="utf-8")
    plots = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert plots
    assert all((output / plot).is_file() for plot in plots)
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert (report["data"]["images"], report["data"]["split"]) == (2, "val")
    assert report["parameters"]["min_face_size"] == 40
    assert len(list((output / "plots").glob("*.svg"))) == 6


def test_the_figures_of_the_scene_are_what_is_known_of_it(scene, capsys):
    assert main(["evaluate", str(scene), "--json", *FAST]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["data"]["images"] == report["data"]["images_for_detection"] == 3
    large = next(
        r for r in report["detection"] if (r["size"], r["state"]) == ("96 px and more", "any")
    )
    assert large["recall"]["value"] == 1
    assert 0.5 <= large["mean_iou"]["low"] <= large["mean_iou"]["high"] <= 1
    assert set(report["models"]) == {report["parameters"]["detector_model"]}


def test_several_models_stand_side_by_side_and_equal_ones_have_equal_figures(
    scene, tmp_path, capsys
):
    copy = tmp_path / "copy.onnx"
    shutil.copy(models_directory() / "mask_classifier.onnx", copy)
    models = ["--model", "mask_classifier", "--model", str(copy)]
    assert main(["evaluate", str(scene), *models, "--json", *FAST]) == 0
    figures = json.loads(capsys.readouterr().out)["models"]
    assert set(figures) == {"mask_classifier", str(copy)}
    assert figures["mask_classifier"] == figures[str(copy)]


def test_a_label_without_a_role_is_left_out_and_named(scene, tmp_path, capsys):
    onnx = pytest.importorskip("onnx", reason="needs the extra `dev`")
    model = onnx.load(models_directory() / "mask_classifier.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    labels = json.dumps(["mask", "no mask", "background"])
    onnx.helper.set_model_props(model, {**metadata, "labels": labels, "roles": "null"})
    path = tmp_path / "mine.onnx"
    onnx.save(model, path)
    assert main(["evaluate", str(scene), "--model", str(path), "--split", "val", *FAST]) == 0
    said = capsys.readouterr()
    assert "labels without a role, which are left out: background" in said.err
    assert "mine.onnx" in said.out


def test_bad_rows_are_listed_counted_and_skipped(flawed, capsys):
    assert main(["evaluate", str(flawed), "--json", *FAST]) == 0
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert [line.split(": ")[1] for line in lines[:2]] == ["empty box", "missing image"]
    assert all(line.startswith("labels.csv:") for line in lines[:2])
    assert lines[2].startswith(
        "warning: 2 problems in the data set (empty box 1, missing image 1); "
    )
    data = json.loads(out)["data"]
    assert data["problem_counts"] == {"empty box": 1, "missing image": 1}
    assert [problem["kind"] for problem in data["problems"]] == ["empty box", "missing image"]


def test_strict_lists_them_too_and_refuses(flawed):
    done = run(flawed, "--strict")
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("error: 2 problems in the data set (empty box 1, missing image 1)")


def test_strict_takes_a_data_set_without_a_problem(scene, capsys):
    assert main(["evaluate", str(scene), "--strict", "--split", "train", *FAST]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["{tmp}/nowhere"], "is not a folder; give the folder of a data set"),
        (["{tmp}"], "there are no labels in"),
        (["{scene}", "--split", "test"], "has no rows of split 'test'; it has train, val"),
        (["{scene}", "--model", "no such model"], "cannot read no such model"),
        (["{scene}", "--model", "pnet"], "cannot read pnet"),
    ],
)
def test_what_cannot_be_evaluated_is_one_error_line(arguments, reason, scene, tmp_path, capsys):
    given = [argument.format(tmp=tmp_path, scene=scene) for argument in arguments]
    assert main(["evaluate", *given, *FAST]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert reason in err


def test_a_model_named_in_two_ways_is_wrong_use(scene, capsys):
    models = ["--model", "mask_classifier", "--classifier-model", "mask_classifier"]
    assert main(["evaluate", str(scene), *models]) == 2
    assert "not both" in capsys.readouterr().err


def test_a_report_folder_that_is_a_file_is_wrong_use(scene, capsys):
    assert main(["evaluate", str(scene), "-o", str(scene / "labels.csv")]) == 2
    assert "cannot make the folder" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--split"], ["--min-face-size", "x"], ["--unknown"]])
def test_wrong_options_end_with_code_2(options, scene, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", *([str(scene)] if options else []), *options])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_source_overlap_and_perturbation_are_the_users_choice(scene, capsys):
    options = ["--source", "drawn", "--iou", "0.4", "--perturb", "dark"]
    assert main(["evaluate", str(scene), *options, "--split", "val", *FAST]) == 0
    out = capsys.readouterr().out
    assert "Detection at IoU 0.4" in out
    assert "\nsources: drawn\n" in out
    assert "\nperturbed: dark\n" in out
    assert "False faces at the chosen threshold" in out


@pytest.mark.parametrize("value", ["0", "1.1", "nan"])
def test_an_overlap_that_is_none_is_wrong_use(value, scene, capsys):
    assert main(["evaluate", str(scene), "--iou", value]) == 2
    assert "--iou must be above 0 and at most 1" in capsys.readouterr().err
