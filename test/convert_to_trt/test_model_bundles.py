# SPDX-License-Identifier: Apache-2.0
"""Labels and models are found where people keep them: beside the model, and in zips."""

import json
import tempfile
import zipfile

import pytest

from convert_to_trt.classifier_settings import settle
from convert_to_trt.keras_files import read_keras_archive
from convert_to_trt.keras_to_onnx import build_parser
from convert_to_trt.model_bundles import open_bundle
from convert_to_trt.model_files import HDF5, KERAS_JSON, SAVED_MODEL, TFJS, TFLITE
from mask_detector_ros.errors import ModelError, ParameterError

HDF5_HEAD = b"\x89HDF\r\n\x1a\n"
TFLITE_HEAD = b"\x1c\0\0\0TFL3"


def test_labels_beside_a_model_are_its_own(tmp_path):
    (tmp_path / "mine.h5").write_bytes(HDF5_HEAD)
    (tmp_path / "labels.txt").write_text("mask\nno mask\n")
    with open_bundle(tmp_path / "mine.h5") as bundle:
        assert json.loads(bundle.metadata["labels"]) == ["mask", "no mask"]
        assert bundle.sources == {"labels": "labels.txt beside the model"}


def test_the_zip_at_the_end_of_a_tflite_file_names_its_labels(tmp_path):
    path = tmp_path / "masks.tflite"
    path.write_bytes(TFLITE_HEAD + bytes(200))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("probability-labels.txt", "mask\nno mask\n")
    (tmp_path / "labels.txt").write_text("of\nanother\n")
    with open_bundle(path) as bundle:
        assert (bundle.path, bundle.kind) == (path, TFLITE)
        assert json.loads(bundle.metadata["labels"]) == ["mask", "no mask"]
        assert bundle.sources == {"labels": "probability-labels.txt in the model"}


def test_a_saved_model_of_teachable_machine_has_its_labels_beside_the_folder(tmp_path):
    path = tmp_path / "converted_savedmodel.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.savedmodel/saved_model.pb", b"")
        archive.writestr("labels.txt", "0 Mask\n1 No Mask\n")
    with open_bundle(path) as bundle:
        assert bundle.kind == SAVED_MODEL
        assert json.loads(bundle.metadata["labels"]) == ["Mask", "No Mask"]
        assert "scale" in bundle.metadata


def test_a_folder_with_one_model_is_that_model(tmp_path):
    (tmp_path / "model.h5").write_bytes(HDF5_HEAD)
    (tmp_path / "class_indices.json").write_text('{"b": 0, "a": 1}')
    with open_bundle(tmp_path) as bundle:
        assert bundle.path == tmp_path / "model.h5"
        assert json.loads(bundle.metadata["labels"]) == ["b", "a"]
    (tmp_path / "other.h5").write_bytes(HDF5_HEAD)
    both = open_bundle(tmp_path)
    with pytest.raises(ModelError, match=r"one model, found: model\.h5, other\.h5"), both:
        pass


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [("keras_model.h5", HDF5_HEAD, HDF5), ("model_unquant.tflite", TFLITE_HEAD, TFLITE)],
)
def test_a_zip_of_teachable_machine_says_labels_and_preprocessing(tmp_path, name, content, kind):
    path = tmp_path / "converted.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("labels.txt", "0 Mask\n1 No Mask\n")
    with open_bundle(path) as bundle:
        assert bundle.kind == kind
        assert json.loads(bundle.metadata["labels"]) == ["Mask", "No Mask"]
        assert bundle.metadata["color"] == "RGB"
        assert float(bundle.metadata["scale"]) == pytest.approx(1 / 127.5)
        assert "Teachable Machine" in bundle.sources["scale"]
        inside = bundle.path
    assert not inside.exists()


def test_a_zip_of_tensorflow_js_is_one_model_with_its_shards(tmp_path):
    path = tmp_path / "tm-my-image-model.zip"
    told = {"packageName": "@teachablemachine/image", "labels": ["a", "b"]}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.json", json.dumps({"modelTopology": {}}))
        archive.writestr("weights.bin", b"")
        archive.writestr("metadata.json", json.dumps(told))
    with open_bundle(path) as bundle:
        assert bundle.kind == TFJS
        assert json.loads(bundle.metadata["labels"]) == ["a", "b"]
        assert "scale" in bundle.metadata


@pytest.mark.parametrize("names", [(), ("a.h5", "b.h5")])
def test_a_zip_with_no_or_several_models_is_refused_with_what_it_holds(tmp_path, names):
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.md", "")
        for name in names:
            archive.writestr(name, HDF5_HEAD)
    with pytest.raises(ModelError, match="must hold one model"), open_bundle(path):
        pass


def test_a_damaged_zip_is_one_error(tmp_path):
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.h5", HDF5_HEAD * 100)
    content = bytearray(path.read_bytes())
    # The signature of the directory's first entry.
    content[content.rfind(b"PK\x01\x02")] = 0
    path.write_bytes(content)
    with open_bundle(path) as bundle, pytest.raises(ModelError, match="damaged"):
        read_keras_archive(bundle.path)


def test_a_zip_writes_nothing_outside_its_folder(tmp_path):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../outside.h5", HDF5_HEAD)
        archive.writestr("model.h5", HDF5_HEAD)
    with open_bundle(path) as bundle:
        assert bundle.path.name == "model.h5"
    assert not list(tmp_path.parent.glob("outside.h5"))


def test_an_architecture_in_json_takes_the_weights_of_its_name(tmp_path):
    (tmp_path / "mask.json").write_text('{"class_name": "Sequential", "config": {}}')
    lonely = open_bundle(tmp_path / "mask.json")
    with pytest.raises(ModelError, match=r"one \.h5 file of weights"), lonely:
        pass
    for name in ("mask.weights.h5", "other.h5"):
        (tmp_path / name).write_bytes(HDF5_HEAD)
    with open_bundle(tmp_path / "mask.json") as bundle:
        assert bundle.kind == KERAS_JSON
        assert bundle.weights == tmp_path / "mask.weights.h5"


@pytest.mark.parametrize("name", ["model.onnx", "model.pb"])
def test_a_detector_of_custom_vision_is_refused_as_one(tmp_path, name):
    (tmp_path / name).write_bytes(b"\n\x10")
    (tmp_path / "cvexport.manifest").write_text('{"DomainType": "ObjectDetection"}')
    for given in (tmp_path / name, tmp_path):
        bundle = open_bundle(given)
        with pytest.raises(ModelError, match=r"object detector.*needs a classifier"), bundle:
            pass


def test_labels_that_repeat_are_told_when_labels_are_missing(tmp_path):
    (tmp_path / "mine.onnx").write_bytes(b"\n\x10")
    (tmp_path / "labels.txt").write_text("mask\nmask\n")
    with open_bundle(tmp_path / "mine.onnx") as bundle:
        assert "labels" not in bundle.metadata
        assert "two or more different labels" in bundle.metadata["labels_problem"]
        options = build_parser().parse_args(["mine.onnx", "--preprocess", "unit"])
        with pytest.raises(
            ParameterError, match=r"labels\.txt must name.*got mask, mask; --labels"
        ):
            settle(options, bundle.metadata)


def test_an_architecture_and_its_weights_in_one_folder_are_one_model(tmp_path):
    (tmp_path / "mask.json").write_text('{"class_name": "Sequential", "config": {}}')
    (tmp_path / "mask.weights.h5").write_bytes(HDF5_HEAD)
    with open_bundle(tmp_path) as bundle:
        assert (bundle.kind, bundle.path) == (KERAS_JSON, tmp_path / "mask.json")
        assert bundle.weights == tmp_path / "mask.weights.h5"


def test_an_error_names_the_zip_not_the_folder_that_it_was_unpacked_to(tmp_path):
    path = tmp_path / "converted.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.onnx", b"")
    bundle = open_bundle(path)
    with pytest.raises(ModelError, match=f"^{path}/model.onnx is empty"), bundle:
        pass
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.onnx", b"\n\x10")
    bundle = open_bundle(path)
    with pytest.raises(ModelError, match=f"^{path}/model.onnx is bad"), bundle as found:
        raise ModelError(f"{found.path} is bad")


OTHERS = {
    "best.pth": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch"),
    "mask.mlmodel": (b"\x08\x01\x12", "Core ML"),
    "mask.xml": (b'<?xml version="1.0"?><net name="a">', "OpenVINO"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_one_file_of_another_kind_in_a_zip_is_named(tmp_path, name):
    path = tmp_path / "converted.zip"
    content, reason = OTHERS[name]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("readme.md", "mine")
    bundle = open_bundle(path)
    with pytest.raises(ModelError, match=f"{path}/{name}.*{reason}"), bundle:
        pass


def test_a_project_of_teachable_machine_is_told_from_a_model(tmp_path):
    path = tmp_path / "project.tm"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "{}")
    bundle = open_bundle(path)
    with pytest.raises(ModelError, match=r"project of Teachable Machine.*export"), bundle:
        pass


def test_a_saved_model_at_the_top_of_a_zip_has_no_labels_of_other_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "labels.txt").write_text("of\nanother\n")
    path = tmp_path / "saved.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("saved_model.pb", b"")
    with open_bundle(path) as bundle:
        assert bundle.kind == SAVED_MODEL
        assert "labels" not in bundle.metadata
