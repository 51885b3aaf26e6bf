# SPDX-License-Identifier: Apache-2.0
"""A model's kind is recognised by its content."""

import json
import zipfile

import pytest

from convert_to_trt.keras_files import read_keras_archive
from convert_to_trt.model_files import (
    FROZEN_GRAPH,
    HDF5,
    KERAS_JSON,
    KERAS_ZIP,
    ONNX,
    SAVED_MODEL,
    TFJS,
    TFJS_GRAPH,
    TFLITE,
    find_kind,
)
from mask_detector_ros.errors import ModelError

HDF5_HEAD = b"\x89HDF\r\n\x1a\n"
ZIP_HEAD = b"PK\x03\x04"


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("mask.h5", HDF5_HEAD, HDF5),
        ("mask.model", HDF5_HEAD, HDF5),
        ("old.keras", HDF5_HEAD, HDF5),
        ("mask.keras", ZIP_HEAD, KERAS_ZIP),
        ("mask.model", ZIP_HEAD, KERAS_ZIP),
        ("mask.pb", b"\n\x10", FROZEN_GRAPH),
        ("mask.ONNX", b"\x08\x08", ONNX),
    ],
)
def test_the_content_says_the_kind_where_it_can(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    assert find_kind(path) == kind


def test_a_folder_with_a_graph_is_a_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    assert find_kind(tmp_path) == SAVED_MODEL


@pytest.mark.parametrize(
    ("name", "content"), [("mask.h5", b"a text"), ("mask.onnx", b""), ("saved_model.pb", b"\n")]
)
def test_any_other_file_is_refused_with_what_is_read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match="give"):
        find_kind(path)


FOREIGN = {
    "Git LFS pointer": ("mask.h5", b"version https://git-lfs.github.com/spec/v1\noid", "lfs pull"),
    "web page": ("mask.h5", b"\n<!DOCTYPE html>\n<html>", "web page"),
    "old PyTorch": (
        "mask.pth",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        r"torch\.onnx\.export",
    ),
    "pickle": ("mask.h5", b"\x80\x04\x95\x10\0\0", "pickle"),
    "gzip": ("mask.h5", b"\x1f\x8b\x08", "unpack it"),
    "image": ("mask.h5", b"\x89PNG\r\n", "an image"),
    "other JSON": ("mask.json", b'{"a": 1}', "not of a Keras model"),
    "SavedModel's graph": ("mask.pb", b"\x08\x01\x12\xb0\x01", "under another name"),
    "empty": ("mask.h5", b"", "is empty"),
    "scikit-learn": ("mask.pkl", b"\x80\x04\x95\0\x8c\x10sklearn.pipeline", "table of features"),
    "Core ML": ("mask.mlmodel", b"\x08\x01\x12\xb0", "Core ML; export .* as ONNX"),
    "OpenVINO": ("mask.xml", b'<?xml version="1.0"?>\n<net name="a">', "OpenVINO; export"),
    "OpenVINO's weights": ("mask.bin", b"\0\0\0\0", "weights only"),
    "TensorRT": ("mask.engine", b"ftrt", "TensorRT, which fits one GPU; export"),
}


@pytest.mark.parametrize(("name", "content", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_an_intact_file_of_another_kind_is_told_from_a_damaged_one(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=reason) as caught:
        find_kind(path)
    assert "damaged" not in str(caught.value)


def test_a_file_of_pytorch_is_refused_with_how_to_export_it(tmp_path):
    path = tmp_path / "mask.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mask/data.pkl", b"")
    with pytest.raises(ModelError, match=r"torch\.onnx\.export"):
        find_kind(path)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("model", b"\x1c\0\0\0TFL3", TFLITE),
        ("mask.json", b'{"class_name": "Sequential", "config": {}}', KERAS_JSON),
        ("model.json", b'{"modelTopology": {}, "weightsManifest": []}', TFJS),
        ("model.json", b'{"modelTopology": {"node": []}}', TFJS_GRAPH),
    ],
)
def test_more_kinds_are_told_by_their_content(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    assert find_kind(path) == kind


def test_json_that_is_nested_too_deeply_is_one_error(tmp_path):
    path = tmp_path / "mask.json"
    path.write_text('{"class_name": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(ModelError, match="nested too deeply"):
        find_kind(path)
    archive = tmp_path / "mask.keras"
    with zipfile.ZipFile(archive, "w") as entries:
        entries.writestr("config.json", "[" * 100_000)
        entries.writestr("metadata.json", "{}")
    with pytest.raises(ModelError, match="nested too deeply"):
        read_keras_archive(archive)


def test_a_folder_of_core_ml_is_named_as_such(tmp_path):
    from convert_to_trt.model_bundles import open_bundle

    (tmp_path / "mask.mlpackage").mkdir()
    (tmp_path / "mask.mlpackage" / "Manifest.json").write_text("{}")
    bundle = open_bundle(tmp_path / "mask.mlpackage")
    with pytest.raises(ModelError, match="Core ML; export"), bundle:
        pass


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        find_kind(tmp_path / "mask.h5")
    with pytest.raises(ModelError, match=r"without saved_model\.pb"):
        find_kind(tmp_path)


def write_archive(path, **entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.json", json.dumps(content))


def test_an_archive_is_read_without_its_training_configuration(tmp_path):
    path = tmp_path / "mask.keras"
    config = {"class_name": "Functional", "compile_config": {"loss": {"module": "builtins"}}}
    write_archive(path, config=config, metadata={"keras_version": "3.4.1"})
    described = read_keras_archive(path)
    assert described.config == {"class_name": "Functional"}
    assert described.major == 3


def test_a_truncated_or_foreign_archive_is_an_error(tmp_path):
    path = tmp_path / "mask.keras"
    write_archive(path, config={"class_name": "Functional"})
    with pytest.raises(ModelError, match="no Keras model"):
        read_keras_archive(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError, match="damaged"):
        read_keras_archive(path)


def test_an_archive_that_would_fill_the_disk_is_refused_unread(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b'{"a": "' + b" " * (65 << 20) + b'"}')
        archive.writestr("metadata.json", "{}")
    with pytest.raises(ModelError, match="no mask classifier is that large"):
        read_keras_archive(path)


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "assets/../../out", "C:/out"])
def test_an_archive_with_entries_outside_its_folder_is_refused(tmp_path, name):
    path = tmp_path / "slip.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", '{"keras_version": "3.10.0"}')
        archive.writestr(name, "x")
    with pytest.raises(ModelError, match="outside its folder"):
        read_keras_archive(path)
