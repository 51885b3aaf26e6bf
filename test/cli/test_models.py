# SPDX-License-Identifier: Apache-2.0
"""`mask-detector models`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from mask_detector_ros.cli import main
from mask_detector_ros.models import models_directory, read_manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path):
    """A copy of the package with its models, which tests may damage."""
    for folder in ("mask_detector_ros", "models"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def run(folder, *arguments):
    """Run the command of the package in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "mask_detector_ros.cli", "models", *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_every_model_is_listed_with_its_state_source_and_licence(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert str(models_directory()) in out
    for entry in read_manifest().values():
        assert f"{entry.name} ({entry.file}): intact" in out
        assert entry.source in out
        assert entry.licence in out


def test_json_is_the_manifest_and_the_state(capsys):
    assert main(["models", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["name"] for record in records] == list(read_manifest())
    assert all(record["intact"] for record in records)
    assert all(len(record["sha256"]) == 64 for record in records)


def test_a_file_of_ones_own_is_shown_with_what_its_labels_mean(tmp_path, capsys):
    model = onnx.load(models_directory() / "mask_classifier.onnx")
    told = {entry.key: entry.value for entry in model.metadata_props}
    names = ["Con máscara", "b", "Mal puesta"]
    roles = ["with_mask", None, "mask_worn_incorrectly"]
    told |= {"labels": json.dumps(names), "roles": json.dumps(roles)}
    onnx.helper.set_model_props(model, told)
    path = tmp_path / "mine.onnx"
    onnx.save(model, path)
    assert main(["models", str(path)]) == 0
    assert "Con máscara (with_mask), b (no role), Mal puesta" in capsys.readouterr().out
    assert main(["models", "--json", str(path)]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["roles"] == ["with_mask", "", "mask_worn_incorrectly"]


def test_damaged_and_missing_files_are_named_and_the_others_still_listed(copy):
    (copy / "models" / "pnet.onnx").write_bytes(b"damaged")
    (copy / "models" / "onet.onnx").unlink()
    done = run(copy)
    assert done.returncode == 1
    assert f"pnet (pnet.onnx): {copy / 'models' / 'pnet.onnx'} is damaged" in done.stdout
    assert f"onet (onet.onnx): cannot read {copy / 'models' / 'onet.onnx'}" in done.stdout
    assert "rnet (rnet.onnx): intact" in done.stdout
    assert done.stderr == ""
    intact = {record["name"]: record["intact"] for record in json.loads(run(copy, "--json").stdout)}
    assert (intact["pnet"], intact["rnet"], intact["onet"]) == (False, True, False)


def test_a_package_without_models_says_what_to_do(copy):
    shutil.rmtree(copy / "models")
    done = run(copy)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no models.yaml beside or above ")
    assert "reinstall mask_detector_ros" in done.stderr
    assert done.stderr.count("\n") == 1
