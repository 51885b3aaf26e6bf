# SPDX-License-Identifier: Apache-2.0
"""Commands in README and docs: those that can run here are run, and every line has valid
options."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from bag_maker import make_bag
from command_blocks import blocks_of, command_lines

from mask_detector_ros.cli import build_parser
from mask_detector_ros.parameters import check_parameters

ROOT = Path(__file__).parents[2]
TUTORIALS = [ROOT / "README.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
PAGES = [*TUTORIALS, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = sorted({line for page in PAGES for line in command_lines(page)})


def commands(start: str) -> list[str]:
    found = [line for line in COMMANDS if line.startswith(start)]
    assert found
    return found


@pytest.fixture
def folder(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """The files that a reader of the tutorials has: photographs, a video, a bag, labels, the
    commands."""
    for name in ("photo.jpg", "holiday/a.jpg", "DATASET/images/a.jpg", "docs/images/demo.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), astronaut)
    (tmp_path / "DATASET" / "labels.csv").write_text(
        "file,xmin,ymin,xmax,ymax,label\na.jpg,170,65,285,215,without_mask\n"
    )
    clip = cv2.VideoWriter(
        str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, astronaut.shape[1::-1]
    )
    for _ in range(5):
        clip.write(astronaut)
    clip.release()
    make_bag(tmp_path / "recording", "mcap", [astronaut])
    (tmp_path / "mine.onnx").write_bytes((ROOT / "models" / "mask_classifier.onnx").read_bytes())
    for name, arguments in (("mask-detector", "-m mask_detector_ros.cli"), ("python", "")):
        script = tmp_path / ".venv" / "bin" / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        script.chmod(0o755)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_in_order(page: Path, folder: Path) -> None:
    pytest.importorskip("rosbags", reason="a bag needs rosbags")
    blocks = [b for b in blocks_of(page) if b.language in ("sh", "python")]
    runnable = [b for b in blocks if b.runnable_code().strip()]
    if not runnable:
        assert all(len(block.reason.split()) > 3 for block in blocks), "a block says why not"
        return
    path = f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    for block in runnable:
        shell = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else ["python", "-c"]
        done = subprocess.run(
            [*shell, block.runnable_code()],
            cwd=folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{block.code}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("line", commands("mask-detector "))
def test_mask_detector_takes_every_line(line: str) -> None:
    build_parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("line", commands("ros2 launch mask_detector_ros mask.launch.py"))
def test_the_launch_file_has_every_argument(line: str) -> None:
    module = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    choices = {name: text for name, _, text in module["launch_arguments"]()}
    for word in shlex.split(line)[4:]:
        name, _, value = word.partition(":=")
        assert name in choices, word
        if "One of " in choices[name]:
            assert f"`{value}`" in choices[name], word


@pytest.mark.parametrize("line", commands("make "))
def test_the_makefile_has_every_target(line: str) -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.M)
    targets = [word for word in shlex.split(line)[1:] if "=" not in word]
    assert set(targets) <= set(phony.split())


@pytest.mark.parametrize("line", [*commands("python -m "), *commands("python3 -m ")])
def test_every_module_exists(line: str) -> None:
    name = line.split()[2]
    assert name in ("mkdocs", "venv") or importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("line", commands("ros2 param set /mask_detector "))
def test_every_parameter_takes_its_value(line: str) -> None:
    name, value = shlex.split(line)[4:6]
    ros = pytest.importorskip("mask_detector_ros.ros.node_parameters", reason="needs ROS 2")
    check_parameters(ros.NODE_PARAMETERS, {name: yaml.safe_load(value)})


@pytest.mark.parametrize("line", [c for c in commands("pip install ") if "[" in c and '".' in c])
def test_every_extra_exists(line: str) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"\[([\w,]+)\]", line)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
