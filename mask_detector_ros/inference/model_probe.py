# SPDX-License-Identifier: Apache-2.0
"""Test a model that is not part of the package in an isolated process.

A network may never finish (an ONNX Loop), crash its library, or return NaN. It therefore runs in a
separate process with a deadline first.
"""

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.session import (
    Array,
    Session,
    TensorInfo,
    require_finite,
    require_probabilities,
)

DEADLINE = 30.0
"""Deadline in seconds for loading a network and running it twice; shipped networks take one."""

MEMORY = 4 << 30
"""Bytes that the network may take there; the largest usual detectors take a tenth of that."""

FREE_SIDE = 64
"""Value for dynamic dimensions of an input: a multiple of the strides of all detectors."""

_MISFIT = 3
"""Exit code of the process after it has printed the reason."""

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from mask_detector_ros.inference.model_probe import main
sys.exit(main(sys.argv[2]))
"""


@lru_cache(maxsize=16)
def probe_model(model: bytes, name: str, deadline: float = DEADLINE) -> None:
    """Probe a serialised ONNX model in an isolated process: run it on zeros and on noise.

    Raises:
        ModelError: it does not load, does not finish, or does not return probabilities.
    """
    arguments = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), name]
    try:
        done = subprocess.run(arguments, input=model, capture_output=True, timeout=deadline)
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"{name} did not give a result within {deadline:g} s: it never finishes, or is too "
            "large for this machine; give another model"
        ) from None
    except OSError as error:
        raise ModelError(f"{name} cannot be tested ({error.strerror})") from error
    if done.returncode == _MISFIT:
        raise ModelError(done.stdout.decode(errors="replace").strip())
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ModelError(
            f"{name} crashed its test process (exit code "
            f"{done.returncode}{''.join(f'; {line}' for line in last)}); give another model"
        )


def check_outputs(session: Session) -> None:
    """Probe a loaded network: run it on zeros and on noise, and check its outputs.

    Raises:
        ModelError: an output is not finite, or has scores or probabilities outside 0 to 1.
    """
    for fill in (0, 255):
        out = session.run(**{t.name: _fill(t, fill, session.metadata) for t in session.inputs})
        for name, values in out.items():
            if len(out) == 1 or name.startswith(("scores", "probabilities")):
                require_probabilities(values, session.name, name)
            elif values.dtype.kind == "f":
                require_finite(values, session.name, name)


def _fill(tensor: TensorInfo, highest: int, metadata: Any) -> Array:
    """Pixels from 0 to `highest`, scaled as given by the metadata."""
    free = [1, *[FREE_SIDE] * len(tensor.shape)]
    shape = [free[i] if side < 0 else side for i, side in enumerate(tensor.shape)]
    pixels: Array = np.random.default_rng(0).integers(0, highest + 1, shape)
    if tensor.dtype.kind == "f":
        scale, offset = (float(metadata.get(n, d)) for n, d in (("scale", 1), ("offset", 0)))
        pixels = pixels * scale + offset
    return pixels.astype(tensor.dtype)


def _limit_memory(more: int) -> None:
    """Limit further allocations of this process to this many bytes, if the system can."""
    status = Path("/proc/self/status")
    if not status.exists():
        return
    import resource

    used = int(status.read_text(encoding="ascii").partition("VmData:")[2].split()[0]) << 10
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + more if most == resource.RLIM_INFINITY else min(used + more, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def main(name: str) -> int:
    """Entry point of the isolated process; reads the model from standard input."""
    from mask_detector_ros.inference import create_session

    model = sys.stdin.buffer.read()
    _limit_memory(MEMORY)
    try:
        check_outputs(create_session(model, name, "auto", 1))
    except MemoryError:
        print(f"{name} takes more than {MEMORY >> 30} GB of memory; give another model")
        return _MISFIT
    except ModelError as error:
        print(error)
        return _MISFIT
    return 0
