# SPDX-License-Identifier: Apache-2.0
"""Throughput of one and eight cameras on the backends that can run here."""

import json

import pytest

pytest.importorskip("skimage", reason="the sample scene is not installed")

from mask_detector_ros.cli import main
from mask_detector_ros.speed.throughput import serving_backends, time_calls


def test_calls_are_timed_after_warming_up():
    numbers = []
    times = time_calls(numbers.append, 10)
    assert numbers == [*range(10), *range(10)]
    assert times["rounds"] == 10
    assert 0 <= times["p50_ms"] <= times["p99_ms"]
    assert times["calls_per_s"] > 0


def test_what_cannot_serve_is_left_out_with_the_reason(bare_gpu):
    bare_gpu.install("rtx-1.7.1")
    bare_gpu.install_cuda()
    bare_gpu.set(capability=[9, 0])
    serving, reasons = serving_backends(0, ("tensorrt", "cuda", "onnxruntime"))
    assert serving == ["cuda", "onnxruntime"]
    reason = "TensorRT-RTX 1.7.1 does not support compute capability 9.0"
    assert reasons == {"tensorrt": reason}


def test_the_command_prints_rows_for_one_and_eight_cameras(bare_gpu, capsys, monkeypatch):
    monkeypatch.setattr("mask_detector_ros.cli.benchmark.THROUGHPUT_FRAMES", 2)
    monkeypatch.setattr("mask_detector_ros.speed.throughput.SCENES", 2)
    bare_gpu.install_cuda()
    options = ["--throughput", "--rounds", "1", "--backends", "cuda,onnxruntime"]
    assert main(["benchmark", *options, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    found = [(row["backend"], row["cameras"]) for row in rows]
    assert found == [("cuda", 1), ("cuda", 8), ("onnxruntime", 1), ("onnxruntime", 8)]
    assert all({"p50_ms", "p99_ms", "host_ms"} <= set(row) for row in rows)


def test_a_named_backend_that_cannot_serve_is_exit_code_1(bare_gpu, capsys, monkeypatch):
    monkeypatch.setattr("mask_detector_ros.speed.throughput.time_detector", lambda *a: None)
    bare_gpu.remove_driver()
    assert main(["benchmark", "--throughput", "--backends", "cuda"]) == 1
    assert "cuda left out: no NVIDIA GPU" in capsys.readouterr().out
