# SPDX-License-Identifier: Apache-2.0
"""Real engines, built by TensorRT-RTX for GPUs that are not here. Needs make tensorrt-env."""

import json

import pytest

from benchmark.engine_builds import TARGETS, build, run_there
from convert_to_trt import cascade_to_onnx
from convert_to_trt.converter_environments import (
    TENSORRT_ENVIRONMENT,
    TENSORRT_REQUIREMENTS,
    is_ready,
)
from mask_detector_ros.models import find_classifier, find_detector

pytestmark = pytest.mark.skipif(
    not is_ready(TENSORRT_ENVIRONMENT, TENSORRT_REQUIREMENTS),
    reason="TensorRT-RTX is not installed: make tensorrt-env",
)

DESCRIBE = """
import json, sys
import tensorrt_rtx_bindings as trt

plan = open(sys.argv[1], "rb").read()
runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
validity, diagnostics = runtime.get_engine_validity(plan)
rubbish, rubbish_diagnostics = runtime.get_engine_validity(b"rubbish" * 1000)
print(json.dumps({
    "diagnostics": int(diagnostics), "rubbish": int(rubbish_diagnostics),
    "loads": runtime.deserialize_cuda_engine(plan) is not None,
}))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    networks = find_detector("mtcnn_masked") | find_detector("mtcnn_two_stage")
    networks["classifier"] = find_classifier("mask_classifier")
    for name, content in networks.items():
        (folder / f"{name}.onnx").write_bytes(content)
    return folder


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("stage", "precision"),
    [
        *(
            (stage, "fp32")
            for stage in ("pnet", "rnet", "onet", "classifier", "proposal", "decision")
        ),
        # The others place faces: what is built for them in fp16 is the same as in fp32.
        ("classifier", "fp16"),
    ],
)
def test_the_shipped_models_build(models, tmp_path, stage, precision, target):
    model = models / f"{stage}.onnx"
    plan = tmp_path / "plan"
    size = build(model, plan, precision, target)["bytes"]
    assert size == plan.stat().st_size
    # Kernels come on top of the weights; many times more is a fault that RTX has shown.
    assert 100_000 < size < 3_000_000 + 4 * model.stat().st_size


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("detector", ["mtcnn_masked", "mtcnn_two_stage"])
def test_the_whole_cascade_builds(tmp_path, target, detector):
    model = tmp_path / "cascade.onnx"
    slots = ("--level-slots", "64", "--refine-slots", "64", "--decide-slots", "32")
    image = ("--image", "320x240", "--min-face-size", "60", "--face-slots", "16")
    options = ("--detector-model", detector, *image, *slots)
    assert cascade_to_onnx.main(["-o", str(model), *options]) == 0
    size = build(model, tmp_path / "plan", "fp32", target)["bytes"]
    # RTX has put hundreds of MB of zeros into an engine for Turing; see `to_plain_layers`.
    assert model.stat().st_size < size < 30_000_000


def test_the_engine_is_taken_for_one_without_a_gpu_to_run_it(models, tmp_path):
    plan = tmp_path / "plan"
    build(models / "pnet.onnx", plan, "fp32", "SM86")
    told = json.loads(run_there(["-c", DESCRIBE, plan]).stdout.splitlines()[-1])
    # The library's own words: nothing is wrong with it but the missing GPU; rubbish is malformed.
    malformed = 32
    assert told == {"diagnostics": 0, "rubbish": malformed, "loads": False}


def test_a_truncated_model_is_refused_in_one_line(models, tmp_path):
    model = tmp_path / "broken.onnx"
    model.write_bytes((models / "pnet.onnx").read_bytes()[:5000])
    options = ("--build-only", "-o", tmp_path / "plan", "--target", "SM86")
    done = run_there(["-m", "convert_to_trt.onnx_to_engine", model, *options])
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is not a model that ONNX Runtime" in done.stderr
    assert not (tmp_path / "plan").exists()
