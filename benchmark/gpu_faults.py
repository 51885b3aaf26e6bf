# SPDX-License-Identifier: Apache-2.0
"""Checks of a GPU with bad input: missing device, full memory, two processes; `auto`'s choice."""

import ctypes
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.gpu_networks import require_same_faces
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import BackendError
from mask_detector_ros.inference import GPU_BACKENDS
from mask_detector_ros.inference.gpus import load_libcuda
from mask_detector_ros.sources.sample_scene import SampleScene
from mask_detector_ros.speed.throughput import time_detector

MISSING_DEVICE = 7

LOAD_LIMIT = 60.0
"""Seconds that loading the networks on the GPU may take."""

LARGE_FRAMES = ((1920, 1080), (2560, 1440), (3840, 2160))
"""Frame sizes that need GPU memory which smaller frames have not reserved."""

_CHUNKS = [1 << power for power in range(36, 17, -1)]
"""Sizes of the allocations that fill the memory, from 64 GiB to 128 KiB."""


def check_missing_device(parameters: Mapping[str, Any]) -> dict[str, str]:
    """GPU check: a device that does not exist is rejected in one line."""
    try:
        MaskDetector.load(**{**parameters, "device": MISSING_DEVICE})
    except BackendError as error:
        text = _one_line(error)
    else:
        raise AssertionError(f"device {MISSING_DEVICE} was accepted")
    assert f"device {MISSING_DEVICE} does not exist" in text, text
    return {"error": text}


def check_auto(parameters: Mapping[str, Any]) -> dict[str, str]:
    """GPU check: `auto` switches to a GPU backend and gives the reason."""
    with MaskDetector.load(**{**parameters, "backend": "auto"}) as detector:
        frame, _ = SampleScene(640, 480).render(0)
        first = detector(frame)
        started_on = detector.device
        detector.wait_for_engines(LOAD_LIMIT)
        require_same_faces([(first, detector(frame))])
        assert detector.backend in GPU_BACKENDS, detector.backend_reason
        return {
            "started_on": started_on,
            "now_on": detector.device,
            "reason": detector.backend_reason,
        }


def check_full_memory(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """GPU check: another process fills the GPU memory in mid-stream and frees it again.

    An explicit backend fails in one line and recovers; `auto` goes on on the CPU.
    """
    small, *larger = (SampleScene(*size).render(0)[0] for size in ((640, 480), *LARGE_FRAMES))
    explicit = MaskDetector.load(**parameters)
    auto = MaskDetector.load(**{**parameters, "backend": "auto"})
    auto.wait_for_engines(LOAD_LIMIT)
    before = explicit(small)
    auto(small)
    assert auto.backend in GPU_BACKENDS, auto.backend_reason
    with full_memory(int(parameters.get("device", 0))) as filled:
        for large in larger:
            if error := _error_of(explicit, large):
                break
        found = auto(large)
        served_by, reason = auto.backend, auto.backend_reason
    # TensorRT reserves the memory of its largest frame in advance.
    assert error or explicit.backend != "cuda", "every frame fitted; give LARGE_FRAMES a larger one"
    after = explicit(large)
    require_same_faces([(found, after), (before, explicit(small))])
    return {
        "filled_mib": filled >> 20,
        "explicit": error or "every frame fitted",
        "auto_served_by": served_by,
        "auto_reason": reason,
        "faces_after": len(after),
    }


def _error_of(detector: MaskDetector, frame: NDArray[np.uint8]) -> str:
    try:
        detector(frame)
    except BackendError as error:
        return _one_line(error)
    return ""


def _one_line(error: BackendError) -> str:
    assert "\n" not in str(error), "the message has more than one line"
    return str(error)


@contextmanager
def full_memory(device: int) -> Iterator[int]:
    """Context in which another process holds all free memory of a GPU; gives the bytes held."""
    command = [sys.executable, "-m", "benchmark.gpu_faults", "fill", str(device)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"the process that fills the memory ended with {process.wait()}"
        yield int(line)
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def fill(cuda: Any, device: int) -> int:
    """Allocate all free memory of a GPU through the driver's library; return the bytes."""
    handle, context, address = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    for name, *arguments in (
        ("cuInit", 0),
        ("cuDeviceGet", ctypes.byref(handle), device),
        ("cuDevicePrimaryCtxRetain", ctypes.byref(context), handle),
        ("cuCtxSetCurrent", context),
    ):
        code = getattr(cuda, name)(*arguments)
        assert code == 0, f"{name} gives error {code}"
    held = 0
    for size in _CHUNKS:
        while cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size)) == 0:
            held += size
    return held


def check_two_processes(rounds: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """GPU check: two processes share the GPU; both find the same faces."""
    command = [sys.executable, "-m", "benchmark.gpu_faults", "time", str(rounds)]
    command.append(json.dumps(dict(parameters)))

    def work(_: int) -> dict[str, Any]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert not done.returncode, done.stderr[-500:]
        return dict(json.loads(done.stdout.splitlines()[-1]))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, range(2))
    assert first["faces"] == second["faces"], f"{first['faces']} and {second['faces']} faces"
    calls_per_s = first["calls_per_s"] + second["calls_per_s"]
    return {"processes": [first, second], "calls_per_s": calls_per_s}


def main() -> None:
    """What the other processes of these checks do: `fill DEVICE` or `time ROUNDS PARAMETERS`."""
    task, number, *rest = sys.argv[1:]
    if task == "fill":
        print(fill(load_libcuda(), int(number)), flush=True)
        # Hold the memory until the parent closes the pipe or ends.
        sys.stdin.read()
    else:
        print(json.dumps(time_detector(int(number), json.loads(rest[0]))))


if __name__ == "__main__":
    main()
