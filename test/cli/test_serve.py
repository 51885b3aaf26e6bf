# SPDX-License-Identifier: Apache-2.0
"""`mask-detector serve` says in one line why it cannot serve."""

import socket

import pytest

from mask_detector_ros import cli
from mask_detector_ros.cli import serve
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.serving import triton_environment, triton_server


@pytest.fixture
def triton(monkeypatch):
    """Triton is found, and starting it is recorded instead."""
    files = (None, None, None, None, None, "")
    found = triton_environment.TritonFiles(*files)
    monkeypatch.setattr(triton_environment, "find_triton", lambda: found)


def error_of(capsys, *arguments, code=2):
    assert cli.main(["serve", *arguments]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_without_triton_it_names_make_serve_env(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(triton_environment, "is_ready", lambda *_: False)
    monkeypatch.setattr(triton_environment, "find_obstacle", lambda: "")
    assert "make serve-env" in error_of(capsys, code=1)


def test_where_triton_has_no_wheel_it_says_what_else_serves(capsys, monkeypatch):
    monkeypatch.setattr(triton_environment, "is_ready", lambda *_: False)
    monkeypatch.setattr(triton_environment.platform, "machine", lambda: "aarch64")
    assert "aarch64; serve from another machine" in error_of(capsys, code=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--instances", "257"], "instances must be an integer from 0 to 256, got 257"),
        (["--queue-size", "-1"], "queue_size must be an integer from 0"),
        (["--queue-limit", "nan"], "queue_limit must be a number from 0.001 to 60, got nan"),
        (["--grpc-port", "70000"], "grpc_port must be an integer from 1 to 65535"),
        (["--model-name", "a/b"], "model_name must be up to 100 letters, digits and ._-"),
        (["--tls-cert", "c.pem"], "belong together"),
        (["--tls-cert", "c.pem", "--tls-key", "k.pem"], "c.pem is not a readable file"),
        (["--tls-client-ca", "ca.pem"], "needs --tls-cert"),
        (["--token-file", "nowhere"], "nowhere is not a readable file"),
        (["--backend", "triton"], "--backend triton is for clients"),
    ],
)
def test_a_wrong_option_is_named(capsys, triton, arguments, words):
    assert words in error_of(capsys, *arguments)


@pytest.mark.parametrize("content", ["", "short", "two words of sixteen", "a" * 20 + ":x=y"])
def test_a_token_that_cannot_travel_is_rejected(capsys, triton, tmp_path, content):
    file = tmp_path / "token"
    file.write_text(content)
    error = error_of(capsys, "--token-file", str(file))
    assert "openssl rand" in error
    assert not content or content not in error.replace(str(file), "")


def test_a_damaged_model_is_named_before_triton_starts(capsys, triton, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"no network")
    assert "model.onnx" in error_of(capsys, "--detector-model", str(model), code=1)


def test_a_port_in_use_is_named(capsys):
    if not triton_environment.is_ready():
        pytest.skip("needs Triton: make serve-env")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}" in error_of(capsys, "--grpc-port", port)


@pytest.mark.parametrize(("state", "instances"), [("ready", 2), ("", 8), ("failed: no memory", 8)])
def test_a_gpu_has_two_instances_and_a_cpu_one_for_each_core(
    capsys, triton, monkeypatch, state, instances
):
    """The server is not started: its options are the error here."""

    def start(options, *_):
        raise ParameterError(f"{options.instances} instances, {options.queue_size} wait")

    monkeypatch.setattr(serve, "usable_cores", lambda: 8)
    monkeypatch.setattr(triton_server, "TritonServer", start)
    monkeypatch.setattr(MaskDetector, "engine_state", state)
    assert f"{instances} instances, {2 * instances} wait" in error_of(capsys)
