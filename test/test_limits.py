# SPDX-License-Identifier: Apache-2.0
"""The page of limits matches the code, and each limit has a test that exceeds it."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.adversarial_images import adversarial
from benchmark.memory_bound import bound_mb
from mask_detector_ros.cli.serve import LOAD_PARAMETERS
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import ImageError, SourceError
from mask_detector_ros.parameters import DETECTOR_PARAMETERS
from mask_detector_ros.sources import read_image

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (.+) \| ([\d.]+) \| (.+) \| `(.+)::(.+)` \|$", re.MULTILINE)
LIMITS = ROW.findall((ROOT / "docs" / "reference" / "limits.md").read_text(encoding="utf-8"))


def parameter_default(name: str) -> Any:
    table = [*DETECTOR_PARAMETERS, *LOAD_PARAMETERS]
    if find_spec("rclpy"):
        from mask_detector_ros.ros.node_parameters import NODE_PARAMETERS

        table += NODE_PARAMETERS
    return next((p.default for p in table if p.name == name), None)


def test_the_page_has_its_rows() -> None:
    assert len(LIMITS) >= 20


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row[4])
def test_a_row_says_what_the_code_says(row: tuple[str, ...]) -> None:
    _, value, place, file, test = row
    assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
    if found := re.fullmatch(r"parameter `(\w+)`", place):
        default = parameter_default(found[1])
        if default is None:
            pytest.skip("needs ROS 2: run `make setup`")
        assert default == float(value)
    elif found := re.fullmatch(r"`([\w.]+)\.(\w+)`", place):
        if ".ros." in found[1]:
            pytest.importorskip("rclpy", reason="needs ROS 2: run `make setup`")
        if ".triton." in found[1]:
            pytest.importorskip("tritonclient.grpc", reason="the triton extra is not installed")
        if ".openvino" in found[1]:
            pytest.importorskip("openvino", reason="the openvino extra is not installed")
        constant = getattr(importlib.import_module(found[1]), found[2])
        assert constant == float(value)


def test_an_image_file_has_a_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(8 * 10_000 + (1 << 24) + 1)
    with pytest.raises(SourceError, match="bytes, more than"):
        read_image(path, max_pixels=10_000)


def test_a_frame_has_a_largest_number_of_faces(detector: MaskDetector) -> None:
    image = adversarial("faces", 400, 600, 20)
    every = MaskDetector.load(threads=1, detection_thresholds=(0.0, 0.0, 0.0), max_faces=0)
    few = MaskDetector.load(threads=1, detection_thresholds=(0.0, 0.0, 0.0), max_faces=5)
    assert len(every(image)) > 5
    assert len(few(image)) == 5


@pytest.mark.parametrize("shape", [(30_000, 30_000), (1, 10**9), (10**9, 1)])
def test_an_array_of_too_many_pixels_is_rejected(
    detector: MaskDetector, shape: tuple[int, int]
) -> None:
    image = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (*shape, 3))
    with pytest.raises(ImageError, match="max_image_pixels"):
        detector(image)


@pytest.mark.parametrize("shape", [(1, 1_000_000), (1_000_000, 1), (2, 3), (1, 1)])
def test_an_image_of_any_shape_is_seen(detector: MaskDetector, shape: tuple[int, int]) -> None:
    assert len(detector(np.zeros((*shape, 3), np.uint8))) == 0


@pytest.mark.parametrize("size", ["1280x720", "20x200000"])
def test_the_memory_of_one_image_is_bounded(size: str) -> None:
    width, height = map(int, size.split("x"))
    code = (
        "import json; from benchmark import memory_bound as bound; bound.WARM_UP = 2;"
        f" print(json.dumps(bound.measure({width}, {height}, 'onnxruntime', 1)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["peak"] - found["base"] < bound_mb(width, height)
