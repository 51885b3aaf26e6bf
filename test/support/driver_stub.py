# SPDX-License-Identifier: Apache-2.0
"""A driver library without a GPU, for processes that load the real libraries of NVIDIA."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


def build_driver(folder, *options):
    """Compile driver_stub.c as libcuda.so.1; return the environment of processes that use it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = folder / "libcuda.so.1"
    line = [compiler, "-shared", "-fPIC", *options, "-Wl,-soname,libcuda.so.1", "-o", library]
    subprocess.run([*line, SOURCE], check=True)
    return {**os.environ, "LD_LIBRARY_PATH": str(folder)}
