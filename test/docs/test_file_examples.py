# SPDX-License-Identifier: Apache-2.0
"""The examples on the page about files and streams run as written."""

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from mask_detector_ros.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "files_and_streams.md").read_text(encoding="utf-8")
LINES = [line for line in PAGE.splitlines() if line.startswith("mask-detector ")]
FAST = ["--threads", "1", "--min-face-size", "60"]


def words_of(line):
    return shlex.split(line.partition(" > ")[0])[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut_file):
    folder = tmp_path_factory.mktemp("examples")
    (folder / "photos").mkdir()
    for name in ("photos/a.png", "a.jpg", "b.jpg", "photo.jpg"):
        (folder / name).write_bytes(astronaut_file.read_bytes())
    writer = cv2.VideoWriter(
        str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (256, 256)
    )
    for _ in range(12):
        writer.write(cv2.imread(str(astronaut_file)))
    writer.release()
    return folder


@pytest.mark.parametrize(
    "line", [line for line in LINES if re.search(r"photos|clip\.mp4", line) and "--rrd" not in line]
)
def test_the_commands_on_files_run(line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert main([*words_of(line), *FAST]) == 0


def test_the_python_example_runs(folder, monkeypatch, astronaut):
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope = {"rgb_array": np.ascontiguousarray(astronaut[..., ::-1])}
    exec(code, scope)
    assert len(scope["faces"]) == 1
    assert [len(faces) for faces in scope["many"]] == [1, 1]
