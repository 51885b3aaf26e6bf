"""A GPU that is not there, and small networks to run on it."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

STAND_IN = Path(__file__).parent / "stand_in"
VERSIONS = ("8.6.1", "10.3.0", "10.13.3", "11.4.0", "rtx-1.7.1")


class FakeGpu:
    """The stand-ins of TensorRT and pycuda, installed for one test; see stand_in/README.md."""

    def __init__(self, folder, monkeypatch):
        self._folder, self._monkeypatch = folder, monkeypatch
        self._path = list(sys.path)
        self.set()
        monkeypatch.setenv("FAKE_GPU", str(folder))

    def set(self, **settings):
        (self._folder / "settings.json").write_text(json.dumps(settings))

    def install(self, version="10.3.0"):
        """Put that version on the path of this process and of those it starts."""
        self.remove_modules()
        site = self._folder / f"site-{version}"
        site.mkdir(exist_ok=True)
        name = "tensorrt_rtx" if version.startswith("rtx") else "tensorrt"
        code = f"import fake_tensorrt\nglobals().update(fake_tensorrt.module_of({version!r}))\n"
        (site / f"{name}.py").write_text(code)
        path = [str(site), str(STAND_IN), str(STAND_IN.parent)]
        self._monkeypatch.setattr(sys, "path", [*path, *self._path])
        self._monkeypatch.setenv("PYTHONPATH", ":".join(path))

    @staticmethod
    def remove_modules():
        from mask_detector_ros.inference.tensorrt import cuda

        cuda.cuda_thread.cache_clear()
        names = ("tensorrt", "tensorrt_rtx", "pycuda", "pycuda.driver")
        for name in (*names, "fake_tensorrt", "fake_engine", "fake_gpu"):
            sys.modules.pop(name, None)

    @property
    def builds(self):
        """How many engines were built, by any process."""
        file = self._folder / "builds.txt"
        return len(file.read_text().splitlines()) if file.exists() else 0


def wait_until(condition, timeout=60.0):
    """Poll until the condition gives something true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"waited {timeout:g} s for {condition}"
        time.sleep(0.01)


def has_ended(pid):
    """Whether a process is gone, or waits for a parent that never asks how it ended."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def network(weight=0.25, width=3, batch="n", metadata=None):
    """(n, width) in: its values times a weight plus 0, 1, 2, and the same without the sum."""
    nodes = [
        helper.make_node("Mul", ["x", "weight"], ["scaled"]),
        helper.make_node("Add", ["scaled", "steps"], ["y"]),
    ]
    steps = np.arange(width, dtype=np.float32)
    graph = helper.make_graph(
        nodes,
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, width])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, width])
            for name in ("y", "scaled")
        ],
        [
            numpy_helper.from_array(np.float32(weight / 255), "weight"),
            numpy_helper.from_array(steps, "steps"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    return model.SerializeToString()
