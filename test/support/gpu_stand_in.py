# SPDX-License-Identifier: Apache-2.0
"""A simulated GPU, and small networks to run on it."""

import json
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.inference import gpus
from mask_detector_ros.inference.tensorrt.api import TensorRt
from mask_detector_ros.inference.tensorrt.builder import build

STAND_IN = Path(__file__).parent / "stand_in"
VERSIONS = ("8.2.1", "8.6.1", "10.3.0", "10.13.3", "11.4.0", "rtx-1.7.1")


_LOAD_LIBCUDA = gpus.load_libcuda


def _no_library(name):
    raise OSError(f"{name}: cannot open shared object file: No such file or directory")


def build_here(request, model, progress, cancelled):
    """Build as `build_in_process` does, without the process, whose start takes 0.2 s.

    test_builder.py tests the process.
    """
    try:
        return build(TensorRt(), request, model, lambda kind, share: progress(share))
    except MaskDetectorError as error:
        raise type(error)(f"TensorRT cannot build {request.name}: {error}") from error


class FakeGpu:
    """Stand-ins of TensorRT and pycuda, installed for one test; see stand_in/README.md."""

    def __init__(self, folder, monkeypatch):
        self._folder, self._monkeypatch = folder, monkeypatch
        self._path = list(sys.path)
        self._capability = [8, 7]
        self.set()
        monkeypatch.setenv("FAKE_GPU", str(folder))

    def set(self, **settings):
        settings.setdefault("capability", self._capability)
        # At once: other processes read it at any time.
        new = self._folder / "settings.json.new"
        new.write_text(json.dumps(settings))
        new.replace(self._folder / "settings.json")

    def install(self, version="10.3.0"):
        """Put this version on the path of this process and of its children."""
        self.remove_modules()
        site = self._folder / f"site-{version}"
        site.mkdir(exist_ok=True)
        is_rtx = version.startswith("rtx")
        # It does not serve an Orin.
        self._capability = [8, 6] if is_rtx else [8, 7]
        settings = json.loads((self._folder / "settings.json").read_text())
        self.set(**{**settings, "capability": self._capability})
        name = "tensorrt_rtx" if is_rtx else "tensorrt"
        code = f"import fake_tensorrt\nglobals().update(fake_tensorrt.module_of({version!r}))\n"
        (site / f"{name}.py").write_text(code)
        path = [str(site), str(STAND_IN), str(STAND_IN.parent)]
        self._monkeypatch.setattr(sys, "path", [*path, *self._path])
        self._monkeypatch.setenv("PYTHONPATH", ":".join(path))
        self._install_driver()

    def install_cuda(self):
        """Give ONNX Runtime a CUDA provider, in this process."""
        if str(STAND_IN) not in sys.path:
            self._monkeypatch.setattr(sys, "path", [str(STAND_IN), *sys.path])
        import fake_onnxruntime

        from mask_detector_ros.inference import cuda_provider, device_buffers, onnxruntime_cuda

        self._install_driver()
        self._monkeypatch.setattr(cuda_provider, "provider_library", lambda: STAND_IN)
        self._monkeypatch.setattr(
            cuda_provider, "_load", lambda library: fake_onnxruntime.Library()
        )
        import onnxruntime

        self._monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: fake_onnxruntime.PROVIDERS
        )
        for module in (onnxruntime_cuda, device_buffers):
            self._monkeypatch.setattr(module, "ort", fake_onnxruntime)
        return fake_onnxruntime

    def remove_provider(self):
        """Replace ONNX Runtime by its CPU build."""
        from mask_detector_ros.inference import cuda_provider

        self._monkeypatch.setattr(cuda_provider, "provider_library", lambda: None)

    def _install_driver(self):
        from pycuda.driver import FakeDriver

        from mask_detector_ros.inference.tensorrt import cuda

        for module in (gpus, cuda):
            self._monkeypatch.setattr(module, "load_libcuda", FakeDriver)

    def remove_driver(self):
        """Remove the GPU driver."""
        self._monkeypatch.setattr(gpus.ctypes, "CDLL", _no_library)
        self._monkeypatch.setattr(gpus, "load_libcuda", _LOAD_LIBCUDA)

    @staticmethod
    def remove_modules():
        from mask_detector_ros.inference.tensorrt import cuda

        cuda.cuda_thread.cache_clear()
        names = ("tensorrt", "tensorrt_rtx", "pycuda", "pycuda.driver")
        stand_ins = ("fake_tensorrt", "fake_runtime", "fake_engine", "fake_gpu")
        for name in (*names, *stand_ins, "fake_onnxruntime"):
            sys.modules.pop(name, None)

    @property
    def builds(self):
        """Number of engines built, by any process."""
        file = self._folder / "builds.txt"
        return len(file.read_text().splitlines()) if file.exists() else 0


def has_ended(pid):
    """Whether a process is gone, or a zombie."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def network(weight=0.25, width=3, batch="n", metadata=None):
    """A network of input (n, width): its values times a weight plus 0, 1, 2, and the same without
    the sum."""
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
