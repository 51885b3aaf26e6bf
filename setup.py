# SPDX-License-Identifier: Apache-2.0
"""Metadata is in pyproject.toml. This file adds what it cannot express: where shared files go, and
the modules compiled on request (`MASK_DETECTOR_CYTHON=1 pip install .`)."""

import os
from pathlib import Path
from typing import Any

from setuptools import setup

ROOT = Path(__file__).parent

# Modules that run for every frame besides the networks and OpenCV.
HOT = ("imaging/boxes.py", "imaging/crops.py", "faces.py", "classifier.py", "mtcnn/[!_]*.py")


def shared(directory: str) -> tuple[str, list[str]]:
    """List the files of a source directory that setup.py installs in
    share/mask_detector_ros/<directory>."""
    files = sorted(p for p in (ROOT / directory).glob("*") if p.is_file())
    return f"share/mask_detector_ros/{directory}", [str(p.relative_to(ROOT)) for p in files]


def compiled() -> dict[str, Any]:
    """The hot modules that setup.py compiles as extensions, from the same source files."""
    if os.environ.get("MASK_DETECTOR_CYTHON", "0") in ("", "0"):
        return {}
    # An option of setup() that pip asks for before it builds; importing Cython comes after.
    wanted = {"setup_requires": ["Cython>=3.1"]}
    try:
        from Cython.Build import cythonize
    except ImportError:
        return wanted
    modules = cythonize(
        [f"mask_detector_ros/{pattern}" for pattern in HOT],
        build_dir="build/cython",
        # Keep annotations as hints instead of C types.
        compiler_directives={"language_level": 3, "annotation_typing": False},
    )
    return {**wanted, "ext_modules": modules}


# Without ROS, bags are written with the interface files.
FOLDERS = ("models", "config", "msg", "underlay/vision_msgs/msg", "underlay/foxglove_msgs/msg")
setup(data_files=[shared(folder) for folder in FOLDERS], **compiled())
