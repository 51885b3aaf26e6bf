# SPDX-License-Identifier: Apache-2.0
"""The model files of the package, and the errors for wrong ones."""

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from mask_detector_ros import models
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ModelError
from mask_detector_ros.models import find_classifier, find_detector, read_manifest, read_model

SHIPPED = Path(__file__).parents[1] / "models"
STAGES = ("pnet", "rnet", "onet")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the models folder that the package uses as its own."""
    copy = shutil.copytree(SHIPPED, tmp_path / "models")
    monkeypatch.setattr(models, "models_directory", lambda: copy)
    return copy


@pytest.fixture
def own_detector(tmp_path):
    """A folder with the three stages, as a user would give it."""
    for stage in STAGES:
        shutil.copy(SHIPPED / f"{stage}.onnx", tmp_path)
    return tmp_path


def test_every_model_file_is_named_in_the_manifest_once():
    files = sorted(entry.file for entry in read_manifest().values())
    assert files == sorted(path.name for path in SHIPPED.glob("*.onnx"))


@pytest.mark.parametrize("entry", read_manifest().values(), ids=lambda entry: entry.name)
def test_every_model_file_is_intact_and_a_valid_onnx_model(entry):
    model = onnx.load_model_from_string(read_model(entry))
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("entry", read_manifest().values(), ids=lambda entry: entry.name)
def test_every_model_says_where_it_comes_from_and_under_which_licence(entry):
    assert entry.task
    assert entry.input
    assert entry.source
    assert entry.licence


def test_the_labels_of_the_manifest_are_those_of_the_file():
    entry = read_manifest()["mask_classifier"]
    assert MaskDetector.load(threads=1).label_names == entry.labels


def test_a_replaced_file_is_refused_and_the_message_names_both_hashes(folder):
    entry = read_manifest()["pnet"]
    (folder / "pnet.onnx").write_bytes((folder / "rnet.onnx").read_bytes())
    with pytest.raises(ModelError) as error:
        find_detector("mtcnn")
    message = str(error.value)
    assert str(folder / "pnet.onnx") in message
    assert entry.sha256 in message
    assert read_manifest()["rnet"].sha256 in message
    assert "reinstall mask_detector_ros" in message


def test_a_truncated_file_is_refused(folder):
    path = folder / read_manifest()["mask_classifier"].file
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="is damaged or was replaced"):
        find_classifier("mask_classifier")


def test_a_missing_file_is_refused_and_the_message_says_what_to_do(folder):
    (folder / "onet.onnx").unlink()
    with pytest.raises(ModelError, match=r"cannot read .*onet\.onnx .*; reinstall"):
        find_detector("mtcnn")


def test_a_hash_in_capitals_is_another_hash():
    entry = read_manifest()["pnet"]
    with pytest.raises(ModelError, match="is damaged or was replaced"):
        read_model(replace(entry, sha256=entry.sha256.upper()))


def test_an_unknown_detector_is_refused_and_the_message_says_what_to_give():
    with pytest.raises(
        ModelError,
        match=r"'retinaface' is neither a folder with .* nor one of: mtcnn_masked, mtcnn",
    ):
        find_detector("retinaface")


def test_an_own_folder_must_hold_all_three_stages(own_detector):
    (own_detector / "rnet.onnx").unlink()
    with pytest.raises(ModelError, match=r"rnet\.onnx .* must hold pnet\.onnx, rnet\.onnx, onet"):
        find_detector(str(own_detector))


def test_an_own_folder_serves_as_the_shipped_models_do(own_detector, astronaut):
    own = MaskDetector.load(detector_model=str(own_detector), threads=1)
    shipped = MaskDetector.load(detector_model="mtcnn", threads=1)
    assert own(astronaut).to_records() == shipped(astronaut).to_records()


def test_a_folder_called_like_a_stage_is_a_folder(own_detector, astronaut, monkeypatch):
    own_detector.rename(own_detector.parent / "pnet")
    monkeypatch.chdir(own_detector.parent)
    assert len(MaskDetector.load(detector_model="pnet", threads=1)(astronaut)) > 0


def test_a_classifier_called_like_a_stage_is_rejected_with_another_way_to_name_it(
    tmp_path, monkeypatch
):
    shutil.copy(SHIPPED / "mask_classifier.onnx", tmp_path / "pnet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"give classifier_model as \./pnet"):
        MaskDetector.load(detector_model="mtcnn", classifier_model="pnet")
    MaskDetector.load(detector_model="mtcnn", classifier_model="./pnet", threads=1)


@pytest.mark.parametrize(("given", "wanted"), [(a, b) for a in STAGES for b in STAGES if a != b])
def test_one_stage_given_as_another_is_refused_at_once(own_detector, given, wanted):
    shutil.copy(SHIPPED / f"{given}.onnx", own_detector / f"{wanted}.onnx")
    with pytest.raises(ModelError) as error:
        MaskDetector.load(detector_model=str(own_detector))
    assert f"{wanted} is not of the expected form" in str(error.value)
    assert "give the file that was made for this stage" in str(error.value)


def test_a_text_file_given_as_a_stage_is_refused(own_detector):
    (own_detector / "pnet.onnx").write_text("not a network")
    with pytest.raises(ModelError, match=r"pnet is not a model that .* get it again"):
        MaskDetector.load(detector_model=str(own_detector))


def test_an_unknown_classifier_is_refused_and_the_known_ones_are_named():
    with pytest.raises(ModelError, match=r"takes the path of an ONNX file, or one of: mask_class"):
        find_classifier("mobilenet")


def test_a_stage_of_the_detector_is_no_classifier():
    with pytest.raises(ModelError, match="classifier_model takes"):
        find_classifier("pnet")


def test_a_folder_given_as_classifier_is_refused(tmp_path):
    with pytest.raises(ModelError, match="Is a directory"):
        find_classifier(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x08\x12\x00" * 50])
def test_a_file_that_is_no_network_is_refused_as_classifier(tmp_path, content):
    path = tmp_path / "classifier.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"classifier\.onnx is not a model that"):
        MaskDetector.load(classifier_model=str(path))


def test_a_network_without_metadata_is_refused_as_classifier():
    path = SHIPPED / "rnet.onnx"
    with pytest.raises(ModelError, match=r"rnet\.onnx .*; a mask classifier carries labels"):
        MaskDetector.load(classifier_model=str(path))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("mine.h5", b"\x89HDF\r\n\x1a\n", "keras_to_onnx .*mine.h5"),
        ("mine.keras", b"PK\x03\x04", "keras_to_onnx"),
        ("mine.tflite", b"\x1c\0\0\0TFL3", "keras_to_onnx"),
        ("model.json", b'{"modelTopology": {}}', "keras_to_onnx"),
        ("graph.pb", b"\n\x10", "keras_to_onnx"),
        ("mine.onnx", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("mine.onnx", b"<!DOCTYPE html><html>", "web page"),
        ("mine.engine", b"ftrt", "give the ONNX file"),
    ],
)
def test_a_model_of_another_framework_is_named_with_what_to_do(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        find_classifier(str(path))
