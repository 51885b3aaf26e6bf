# SPDX-License-Identifier: Apache-2.0
"""`MASK_DETECTOR_CYTHON=1 pip install .`: the same files, compiled."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("Cython", reason="Cython is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A copy of the package with its extensions built beside the sources."""
    folder = tmp_path_factory.mktemp("compiled")
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("mask_detector_ros", "models", "config", "msg", "underlay"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    run(folder, "setup.py", "build_ext", "--inplace", MASK_DETECTOR_CYTHON="1", CFLAGS="-O0 -g0")
    return folder


def run(folder, *arguments, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(folder)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_compiled_detector_finds_what_the_interpreted_one_finds(compiled, astronaut_file):
    script = (
        "import cv2, sys, mask_detector_ros.mtcnn.three_stage_cascade as c;"
        "from mask_detector_ros import MaskDetector;"
        "faces = MaskDetector.load(threads=1)(cv2.imread(sys.argv[1]));"
        "print(c.__file__.rpartition('.')[2], faces.boxes.tolist(), faces.labels)"
    )
    fast = run(compiled, "-c", script, str(astronaut_file))
    usual = run(ROOT, "-c", script, str(astronaut_file))
    assert fast.startswith("so ")
    assert usual.startswith("py ")
    assert fast.split(maxsplit=1)[1] == usual.split(maxsplit=1)[1]
