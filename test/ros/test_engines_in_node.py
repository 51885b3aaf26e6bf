# SPDX-License-Identifier: Apache-2.0
"""The node with a simulated GPU: it runs on the CPU while engines are built, and reports it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")

from detector_client import NODE, make_image
from diagnostic_msgs.msg import DiagnosticArray
from gpu_stand_in import FakeGpu, has_ended
from ros_graph import ROOT
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray
from waiting import wait_until as wait_for

BUILDING = 180.0
"""Seconds that four builds, each a process that loads ONNX Runtime, may take on a busy machine."""


def wait_until(condition: Callable[[], Any], what: str) -> None:
    wait_for(condition, BUILDING, what)


@pytest.fixture
def gpu(graph: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """An Orin with TensorRT 8.6, for the nodes that the graph starts."""
    folder = tmp_path / "gpu"
    folder.mkdir()
    fake = FakeGpu(folder, monkeypatch)
    fake.install("8.6.1")
    graph.environment |= {
        "FAKE_GPU": str(folder),
        "PYTHONPATH": f"{ROOT}:{os.environ['PYTHONPATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    yield fake
    fake.remove_modules()


def test_auto_serves_at_once_and_diagnostics_say_what_serves(graph: Any, gpu: FakeGpu) -> None:
    gpu.set(build_seconds=600)
    process = graph.start("mask_detector_node", threads=1)
    client = graph.client()
    detections = client.listen(Detection2DArray, f"{NODE}/detections")
    reports = client.listen(DiagnosticArray, "/diagnostics")
    images = client.advertise(Image, "/image_raw", 10)
    picture = make_image(np.zeros((48, 64, 3), np.uint8))

    def latest() -> dict[str, str]:
        statuses = reports[-1].status if reports else []
        return {pair.key: pair.value for status in statuses for pair in status.values}

    wait_until(lambda: images.publish(picture) or detections, what="detections while building")
    wait_until(
        lambda: latest().get("engine", "").startswith("building proposal"), what="the building"
    )
    assert latest()["backend"] == "onnxruntime"
    # That build would take ten minutes: without it the next start is quick.
    assert graph.end(process) == 0
    gpu.set()
    process = graph.start("mask_detector_node", threads=1)
    wait_until(
        lambda: images.publish(picture) or latest().get("backend") == "tensorrt",
        what="TensorRT to take over",
    )
    assert latest()["engine"] == "ready"
    assert latest()["device"] == "Orin (TensorRT 8.6.1, fp32)"
    wait_until(lambda: "now serving from tensorrt on Orin" in graph.output(process), what="the log")
    count = len(detections)
    wait_until(lambda: images.publish(picture) or len(detections) > count, what="detections")


def test_an_interrupt_while_an_explicit_engine_is_built_ends_node_and_builder(
    graph: Any, gpu: FakeGpu
) -> None:
    gpu.set(build_seconds=600)
    process = graph.start("mask_detector_node", threads=1, backend="tensorrt")
    wait_until(lambda: gpu.builds == 1, what="the build")
    assert "building the engine of proposal (fp32): none is stored" in graph.output(process)
    (builder,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert graph.end(process, signal.SIGINT) == 0
    wait_until(lambda: has_ended(builder), what="the end of the builder")
    assert "Traceback" not in graph.output(process)


def test_an_engine_that_cannot_be_built_ends_an_explicit_start_with_the_reason(
    graph: Any, gpu: FakeGpu
) -> None:
    gpu.set(build_fault="refuse")
    process = graph.start("mask_detector_node", threads=1, backend="tensorrt")
    assert process.wait(BUILDING) == 1
    assert "TensorRT cannot build proposal: Could not find any implementation" in graph.output(
        process
    )
    assert "Traceback" not in graph.output(process)


def test_an_explicit_gpu_that_is_not_there_ends_the_start_with_the_reason(
    graph: Any, gpu: FakeGpu
) -> None:
    gpu.set(gpus=None)
    process = graph.start("mask_detector_node", threads=1, backend="tensorrt")
    assert process.wait(BUILDING) == 1
    assert "[mask_detector]: no CUDA device was found: the NVIDIA driver" in graph.output(process)
    assert "Traceback" not in graph.output(process)


def test_auto_without_a_gpu_serves_and_diagnostics_name_the_reason(
    graph: Any, gpu: FakeGpu
) -> None:
    gpu.set(build_fault="refuse")
    process = graph.start("mask_detector_node", threads=1)
    reports = graph.client().listen(DiagnosticArray, "/diagnostics")
    reason = "staying on the CPU: TensorRT cannot build proposal"

    def given() -> list[str]:
        statuses = reports[-1].status if reports else []
        pairs = [pair for status in statuses for pair in status.values]
        return [pair.value for pair in pairs if pair.key == "backend reason"]

    wait_until(lambda: any(text.startswith(reason) for text in given()), what="the reason")
    assert reason in graph.output(process)
