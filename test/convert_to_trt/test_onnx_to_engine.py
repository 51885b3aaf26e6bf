# SPDX-License-Identifier: Apache-2.0
"""Build engines ahead of time, into the cache or as a bare plan; int8 and its cost."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from gpu_stand_in import FakeGpu

from convert_to_trt import onnx_to_engine
from convert_to_trt.quantise import quantise
from mask_detector_ros.errors import ModelError, ParameterError
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.tensorrt import api
from mask_detector_ros.models import find_classifier, find_detector

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    """A simulated Orin with TensorRT 10.3."""
    folder = tmp_path / "gpu"
    folder.mkdir()
    fake = FakeGpu(folder, monkeypatch)
    fake.install()
    yield fake
    fake.remove_modules()


@pytest.fixture(scope="module")
def crops(tmp_path_factory, astronaut):
    """The astronaut's face in many lights, half of them with a bright patch over the mouth."""
    folder = tmp_path_factory.mktemp("crops")
    chance = np.random.default_rng(0)
    face = astronaut[50:210, 150:310]
    for number in range(48):
        label = ("without_mask", "with_mask")[number % 2]
        picture = np.roll(face, chance.integers(-8, 8, 2), (0, 1)).astype(np.float32)
        picture = picture * chance.uniform(0.5, 1.2) + chance.normal(0, 6, face.shape)
        if label == "with_mask":
            cv2.ellipse(picture, (85, 120), (50, 40), 0, 0, 360, (230, 220, 210), -1)
        (folder / label).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / label / f"{number}.png"), np.clip(picture, 0, 255))
    return folder


def run(capsys, *arguments):
    code = onnx_to_engine.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_without_a_model_it_builds_what_the_node_runs(gpu, tmp_path, capsys):
    common = ("--engine-cache-dir", tmp_path / "cache", "--precision", "fp32")
    code, out, _ = run(capsys, *common)
    assert code == 0
    ready = [line.partition(":")[0] for line in out.splitlines()]
    assert ready == ["proposal", "decision"]
    assert "ready on Orin (TensorRT 10.3.0, fp32)" in out
    assert gpu.builds == 2
    code, out, _ = run(capsys, *common, "--json")
    assert code == 0
    assert len(json.loads(out)) == 2
    assert gpu.builds == 2


def test_a_plan_can_be_written_for_other_programs(gpu, tmp_path, capsys):
    model, plan = tmp_path / "rnet.onnx", tmp_path / "rnet.plan"
    model.write_bytes(find_detector("mtcnn")["rnet"])
    code, out, _ = run(capsys, model, "--build-only", "-o", plan, "--precision", "fp32")
    assert code == 0
    assert plan.read_bytes().startswith(b"fake plan")
    assert "fp32, for Orin; not compared" in out


def test_without_a_gpu_no_plan_is_said_to_be_for_it(gpu, tmp_path, capsys):
    gpu.remove_driver()
    model, plan = tmp_path / "rnet.onnx", tmp_path / "rnet.plan"
    model.write_bytes(find_detector("mtcnn")["rnet"])
    code, _, err = run(capsys, model, "--build-only", "-o", plan)
    assert code == 1
    assert err.startswith("error: no NVIDIA driver was found")
    assert not plan.exists()


def test_without_a_gpu_nothing_is_read_or_built(gpu, capsys, monkeypatch):
    gpu.set(gpus=None)
    monkeypatch.setattr(onnx_to_engine, "find_networks", None)
    code, _, err = run(capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("error: no CUDA device was found")


def test_the_workspace_reaches_the_builder(gpu, tmp_path, capsys):
    model, plan = tmp_path / "rnet.onnx", tmp_path / "rnet.plan"
    model.write_bytes(find_detector("mtcnn")["rnet"])
    run(capsys, model, "--build-only", "-o", plan, "--workspace", 64)
    assert b'"workspace": {"WORKSPACE": 67108864}' in plan.read_bytes()


def test_int8_writes_a_network_says_its_cost_and_builds_it(gpu, tmp_path, crops, capsys):
    model = tmp_path / "mask.onnx"
    model.write_bytes(find_classifier("mask_classifier"))
    options = ("--precision", "int8", "--crops", crops, "--engine-cache-dir", tmp_path / "cache")
    code, out, err = run(capsys, model, *options)
    assert (code, err.count("error")) == (0, 0)
    assert "int8 scales from 24 crops; on 24 others: same label" in out
    assert "accuracy" in out
    quantised = tmp_path / "mask.int8.onnx"
    assert f"{quantised}: ready on Orin" in out
    # The node finds the engine when it is told to use that file.
    assert gpu.builds == 1
    create_session(quantised.read_bytes(), "mask", "tensorrt", 1, options=_options(tmp_path))
    assert gpu.builds == 1


def _options(tmp_path):
    from mask_detector_ros.inference import EngineOptions

    return EngineOptions(engine_cache_dir=str(tmp_path / "cache"))


def test_int8_is_of_the_form_that_tensorrt_takes_and_nearly_as_right(crops):
    content, cost = quantise(find_classifier("mask_classifier"), "mask", crops)
    assert cost.same_label >= 0.9
    assert cost.mean < 0.05
    model = onnx.load_from_string(content)
    producers = {output: node for node in model.graph.node for output in node.output}
    quantised = [n for n in model.graph.node if n.op_type == "Conv"]
    sources = [producers.get(n.input[0]).op_type for n in quantised]
    # All but the first and the last.
    assert sources.count("DequantizeLinear") == len(quantised) - 2
    zeros = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if "zero_point" in tensor.name
    }
    assert zeros
    assert all((values == 0).all() for values in zeros.values())


def test_int8_needs_enough_crops_of_a_classifier(tmp_path, crops):
    with pytest.raises(ParameterError, match="must be a folder of face crops"):
        quantise(find_classifier("mask_classifier"), "mask", tmp_path / "nowhere")
    (tmp_path / "few").mkdir()
    cv2.imwrite(str(tmp_path / "few" / "one.png"), np.zeros((96, 96, 3)))
    with pytest.raises(ParameterError, match="holds 1 images, int8 needs 20 or more"):
        quantise(find_classifier("mask_classifier"), "mask", tmp_path / "few")
    with pytest.raises(ModelError, match="a mask classifier carries labels"):
        quantise(find_detector("mtcnn")["rnet"], "rnet", crops)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("a.onnx", "--build-only"), "--build-only and -o PLAN must be given"),
        (("a.onnx", "-o", "plan"), "--build-only and -o PLAN must be given"),
        (("--build-only", "-o", "plan"), "takes one MODEL.onnx"),
        (("a.onnx", "--target", "SM86"), "--target needs --build-only"),
        (("a.onnx", "--precision", "int8"), "int8 and --crops FOLDER must be given"),
        (("a.onnx", "--crops", "x"), "int8 and --crops FOLDER must be given"),
        (("--precision", "int8", "--crops", "x"), "int8 is for one mask classifier"),
        (("--workspace", "0"), "--workspace must be 1 or more"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(capsys, arguments, reason):
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert reason in err
    assert err.count("\n") == 1


def test_a_model_that_is_not_there_is_one_line(gpu, tmp_path, capsys):
    code, _, err = run(capsys, tmp_path / "none.onnx")
    assert code == 1
    assert "cannot read" in err
    assert err.count("\n") == 1


def test_a_tensorrt_that_is_not_there_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(api, "MODULES", ("no_tensorrt",))
    code, _, err = run(capsys)
    assert code == 1
    assert "tensorrt is not installed; do: " in err
    assert err.count("\n") == 1


def test_int8_without_tensorrt_still_writes_the_network(tmp_path, crops, capsys, monkeypatch):
    monkeypatch.setattr(api, "MODULES", ("no_tensorrt",))
    model = tmp_path / "mask.onnx"
    model.write_bytes(find_classifier("mask_classifier"))
    code, out, _ = run(capsys, model, "--precision", "int8", "--crops", crops)
    assert code == 0
    assert f"written: {tmp_path / 'mask.int8.onnx'}; no engine was built: backend tensorrt" in out


def test_without_the_package_onnx_engines_can_still_be_built():
    # A Jetson with TensorRT 8 has no need of it.
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "import convert_to_trt.onnx_to_engine, mask_detector_ros.inference.tensorrt.session\n"
        "from convert_to_trt import cascade_to_onnx\n"
        "sys.exit(cascade_to_onnx.main(['-o', 'c.onnx']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "do: pip install onnx" in done.stderr
