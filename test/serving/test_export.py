# SPDX-License-Identifier: Apache-2.0
"""`mask-detector export triton` writes a repository that Triton accepts and our client expects.

The wheel of Triton has no ONNX Runtime, so these tests serve the same file with the same config by
Triton's Python backend. NVIDIA's container is not run here.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from waiting import wait_until

from benchmark.inference_server import free_ports, missing_server
from mask_detector_ros import cli
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.models import hash_networks
from mask_detector_ros.serving import export
from mask_detector_ros.serving.triton_environment import find_triton
from mask_detector_ros.serving.triton_server import child_variables, link_backend

MODEL = """
import sys
sys.path[:0] = {path!r}
import json, pathlib
import numpy as np, onnxruntime
import triton_python_backend_utils as backend

class TritonPythonModel:
    def initialize(self, args):
        file = pathlib.Path(args["model_repository"]) / args["model_version"] / "cascade.onnx"
        self.session = onnxruntime.InferenceSession(str(file))
        self.names = [output.name for output in self.session.get_outputs()]

    def execute(self, requests):
        answers = []
        for request in requests:
            image = backend.get_input_tensor_by_name(request, "image").as_numpy()
            outputs = zip(self.names, self.session.run(self.names, {{"image": image}}))
            tensors = [backend.Tensor(name, np.ascontiguousarray(o)) for name, o in outputs]
            answers.append(backend.InferenceResponse(tensors))
        return answers
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    pytest.importorskip("onnx", reason="needs onnx")
    folder = tmp_path_factory.mktemp("repository") / "models"
    options = ["--image", "256x256", "--min-face-size", "40", "--instances", "2"]
    assert cli.main(["export", "triton", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def config(repository):
    api = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    text = (repository / "mask_detector" / "config.pbtxt").read_text()
    return text_format.Parse(text, api.ModelConfig())


class Triton:
    """`tritonserver` over a repository."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        triton = find_triton()
        link_backend(triton, scratch / "backends")
        self.port, http, metrics = free_ports(3)
        self._file = (scratch / "log").open("w+")
        self._process = subprocess.Popen(
            [
                *(str(triton.server), f"--model-repository={folder}"),
                f"--backend-directory={scratch / 'backends'}",
                *("--grpc-address=127.0.0.1", f"--grpc-port={self.port}"),
                *("--http-address=127.0.0.1", f"--http-port={http}"),
                f"--metrics-port={metrics}",
            ],
            env=child_variables(triton),
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )

    @property
    def log(self) -> str:
        return (Path(self._file.name)).read_text(errors="replace")

    def wait_until_ready(self) -> None:
        wait_until(lambda: "Started Metrics" in self.log or self.has_ended())
        assert not self.has_ended(), self.log

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._file.close()


@pytest.fixture
def needs_triton():
    if problem := missing_server():
        pytest.skip(problem)


def test_the_config_fits_the_file(repository, config):
    version = repository / "mask_detector" / "1"
    session = export.create_session((version / "cascade.onnx").read_bytes(), "c", "onnxruntime")
    assert [tuple(tensor.dims) for tensor in config.input] == [(256, 256, 3)]
    assert [(t.name, tuple(t.dims)) for t in config.output] == [
        (t.name, t.shape) for t in session.outputs
    ]
    assert config.default_model_filename == "cascade.onnx"
    assert config.platform == "onnxruntime_onnx"


def test_the_config_is_for_gpus(config):
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, group.KIND_GPU)
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert accelerator.parameters["precision_mode"] == "FP32"
    assert config.model_warmup[0].inputs["image"].random_data
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 4


def test_the_config_says_which_weights_are_in_the_file(config):
    expected = hash_networks("mtcnn_two_stage", "auto")
    assert config.parameters["model_sha256"].string_value == expected


def test_triton_parses_it_and_lacks_only_its_onnx_runtime(needs_triton, repository, tmp_path):
    with Triton(repository, tmp_path) as triton:
        wait_until(triton.has_ended)
    assert "unable to find backend library for backend 'onnxruntime'" in triton.log


def test_triton_rejects_a_damaged_config(needs_triton, repository, tmp_path):
    """This shows that the test above can fail."""
    damaged = tmp_path / "models" / "mask_detector"
    (damaged / "1").mkdir(parents=True)
    text = (repository / "mask_detector" / "config.pbtxt").read_text()
    (damaged / "config.pbtxt").write_text(text.replace("max_batch_size", "max_batch"))
    with Triton(damaged.parent, tmp_path) as triton:
        wait_until(triton.has_ended)
    assert "backend library" not in triton.log
    assert "failed to read text proto" in triton.log


def test_our_client_finds_the_same_faces_through_it(needs_triton, repository, tmp_path, astronaut):
    """The exported file and config are used, except for the backend and GPU settings."""
    pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
    model = tmp_path / "models" / "mask_detector"
    (model / "1").mkdir(parents=True)
    text = (repository / "mask_detector" / "config.pbtxt").read_text()
    text = text.replace('platform: "onnxruntime_onnx"', 'backend: "python"')
    text = text.replace("KIND_GPU", "KIND_CPU").replace("count: 2", "count: 1")
    text = re.sub(r"^default_model_filename.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^optimization \{.*?^\}\n", "", text, flags=re.MULTILINE | re.DOTALL)
    (model / "config.pbtxt").write_text(text)
    file = repository / "mask_detector" / "1" / "cascade.onnx"
    (model / "1" / "cascade.onnx").write_bytes(file.read_bytes())
    path = [str(find_triton().packages), *sys.path]
    (model / "1" / "model.py").write_text(MODEL.format(path=path))
    image = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    with Triton(model.parent, tmp_path) as triton:
        triton.wait_until_ready()
        with MaskDetector.load(
            backend="triton", server_url=f"127.0.0.1:{triton.port}", server_deadline=20.0
        ) as remote:
            faces = remote(image)
    local = MaskDetector.load(detector_model=str(file), threads=1)(image)
    assert len(faces) == 1
    np.testing.assert_allclose(faces.boxes, local.boxes, atol=0.01)
    np.testing.assert_allclose(faces.probabilities, local.probabilities, atol=1e-4)
    assert faces.label_names == local.label_names


def error_of(capsys, *arguments, code):
    assert cli.main(["export", "triton", *map(str, arguments)]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_a_model_that_exists_is_kept(capsys, repository):
    file = repository / "mask_detector" / "1" / "cascade.onnx"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert "exists; remove it" in error_of(capsys, repository, code=2)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest


def test_the_converters_reason_is_the_error(capsys, tmp_path):
    assert "--image must have the form" in error_of(capsys, tmp_path, "--image", "3x", code=1)
    assert not any(tmp_path.iterdir())


def test_without_the_source_tree_it_says_so(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_REPOSITORY", tmp_path)
    assert "from a clone" in error_of(capsys, tmp_path / "models", code=1)
