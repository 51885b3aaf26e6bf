"""make gpu-check runs through on a GPU that is not there, and finds what is wrong with one."""

import json
import shutil

import pytest

pytest.importorskip("skimage", reason="the sample scene is not installed")

from benchmark import gpu_check
from mask_detector_ros import models


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """The models as they are now: on a starved machine a run takes many minutes and reads them
    again and again, and a checkout may change meanwhile."""
    copy = shutil.copytree(models.models_directory(), tmp_path / "models")
    monkeypatch.setattr(models, "models_directory", lambda: copy)
    monkeypatch.setattr(models, "read_manifest", models.read_manifest.__wrapped__)


def test_without_a_gpu_it_says_what_is_missing(capsys):
    assert gpu_check.main([]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_it_runs_through(gpu, own_models, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_check, "BATCHES", (1, 3, 8))
    # In ONNX Runtime on a CPU it takes a minute; test_cascade_graph.py runs a small one.
    monkeypatch.setattr(gpu_check, "check_cascade_graph", lambda *arguments: None)
    report = tmp_path / "report.json"
    code = gpu_check.main(["--precision", "fp32", "--rounds", "1", "--out", str(report)])
    result = json.loads(report.read_text())
    assert [check for check in result["checks"] if not check["passed"]] == []
    assert (code, result["failed"]) == (0, [])
    assert json.loads(capsys.readouterr().out) == result
    by_name = {check["check"]: check.get("result") for check in result["checks"]}
    one, many, none, *_ = by_name["faces in fp32"]["faces"]
    assert one >= 1
    assert many > one
    assert none == 0
    assert "is damaged" in by_name["spoilt engines"]["one byte changed"]
    assert by_name["time of the detector in fp32"]["on"] == "Orin (TensorRT 10.3.0, fp32)"


def test_a_gpu_that_computes_something_else_fails(gpu, tmp_path):
    gpu.set(run_fault="wrong")
    checks = gpu_check.Checks()
    model = gpu_check.networks()["rnet"]
    checks.run("rnet", lambda: gpu_check.check_network(model, "rnet", "fp32", str(tmp_path)))
    assert checks.failed == ["rnet"]
    assert "differs from ONNX Runtime" in checks.results[0]["error"]
