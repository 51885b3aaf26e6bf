# SPDX-License-Identifier: Apache-2.0
"""The properties of the stand-ins: a file of settings, so that other processes read them too."""

import json
import os
from pathlib import Path

DEFAULTS = {
    # None: the driver finds no GPU.
    "gpus": 1,
    "gpu": "Orin",
    "capability": [8, 7],
    # The newest CUDA that the driver serves.
    "driver": 13000,
    # Bytes that can be allocated; None: no limit.
    "memory": None,
    # Whether the driver has no pinned host memory.
    "pinned_fault": False,
    "build_seconds": 0,
    # refuse: no plan comes out; kill: the builder dies as if memory ran out.
    "build_fault": None,
    # wrong: outputs are 1 too large; nan: they are no numbers. half: only where fp16 was built.
    # Of ONNX Runtime with CUDA: memory, lost or kernel.
    "run_fault": None,
    # An error of the CUDA runtime that the provider is linked with.
    "runtime_fault": 0,
    # Of ONNX Runtime with CUDA. cpu: it takes the CPU; graphs: not with CUDA graphs; lost.
    "load_fault": None,
}


def folder():
    return Path(os.environ["FAKE_GPU"])


def settings():
    return {**DEFAULTS, **json.loads((folder() / "settings.json").read_text())}


def count_build(name):
    with (folder() / "builds.txt").open("a") as file:
        file.write(f"{name}\n")
