# SPDX-License-Identifier: Apache-2.0
"""A stand-in of ONNX Runtime with a CUDA provider, which runs networks on the CPU.

It is stricter than the real one: an array that is not contiguous, a value on another device, a
CUDA graph that is replayed with other buffers than it was recorded with are errors here.
"""

import ctypes

import numpy as np
import onnxruntime as real
from fake_engine import open_network
from fake_gpu import settings
from onnxruntime.capi import onnxruntime_pybind11_state as state

RunOptions = real.RunOptions
SessionOptions = real.SessionOptions
__version__ = real.__version__

PROVIDERS = ["CUDAExecutionProvider", "CPUExecutionProvider"]
replays = []
"""The numbers of the graphs that were replayed, in order."""


def set_default_logger_severity(level):
    pass


class Library:
    """The provider's library and the CUDA runtime that it is linked with."""

    def __init__(self):
        self.cudaGetErrorString = _ErrorString()

    def cudaGetDeviceCount(self, count):  # noqa: N802
        return settings()["runtime_fault"]


class _ErrorString:
    def __call__(self, code):
        assert self.restype is ctypes.c_char_p
        return f"CUDA error {code}".encode()


class OrtValue:
    def __init__(self, array, device):
        self.array, self.device = array, device

    @classmethod
    def ortvalue_from_numpy(cls, array, device, number=0):
        assert device == "cuda"
        assert number < settings()["gpus"]
        if settings()["run_fault"] == "memory":
            raise state.Fail("BFCArena::AllocateRawInternal Failed to allocate memory")
        return cls(array.copy(), device)

    def update_inplace(self, array):
        assert array.flags.c_contiguous
        assert (array.shape, array.dtype) == (self.array.shape, self.array.dtype)
        self.array[...] = array

    def numpy(self):
        return self.array.copy()

    def data_ptr(self):
        return self.array.ctypes.data


class IOBinding:
    def __init__(self, session):
        self.inputs, self.outputs = {}, dict.fromkeys(session.output_names)
        self.results = {}

    def bind_ortvalue_input(self, name, value):
        assert value.device == "cuda"
        self.inputs[name] = value

    def bind_output(self, name, device, number, dtype=None, shape=None, address=None):
        assert device == "cuda"
        self.outputs[name] = None
        if address is not None:
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            memory = (ctypes.c_uint8 * size).from_address(address)
            self.outputs[name] = OrtValue(np.frombuffer(memory, dtype).reshape(shape), device)

    def get_outputs(self):
        return [self.results[name] for name in self.outputs]


class InferenceSession:
    def __init__(self, model, options, providers, enable_fallback):
        assert not enable_fallback
        (name, self.options), cpu = providers
        assert [name, cpu] == PROVIDERS
        fault = settings()["load_fault"]
        if fault == "cpu":
            self.providers = ["CPUExecutionProvider"]
        elif fault == "graphs" and self.options["enable_cuda_graph"] == "1":
            raise state.Fail("This session cannot use the graph capture feature")
        elif fault == "lost":
            raise state.Fail("CUDA failure 999: unknown error")
        else:
            self.providers = PROVIDERS
        self.session = open_network(model)
        self.output_names = [tensor.name for tensor in self.session.get_outputs()]
        self.graphs = {}

    def get_providers(self):
        return self.providers

    def io_binding(self):
        return IOBinding(self)

    def run_with_iobinding(self, binding, options):
        fault = settings()["run_fault"] or ""
        if fault == "lost":
            raise state.Fail("CUDA failure 719: unspecified launch failure")
        if fault == "kernel":
            raise state.Fail("CUDA failure 209: no kernel image is available for execution")
        feeds = {name: value.array for name, value in binding.inputs.items()}
        results = dict(
            zip(self.output_names, self.session.run(self.output_names, feeds), strict=True)
        )
        for name, array in results.items():
            bound = binding.outputs[name]
            if bound is None:
                binding.results[name] = OrtValue(array + (fault == "wrong"), "cuda")
            else:
                assert bound.array.shape == array.shape
                bound.array[...] = array + (fault == "wrong")
        records = self.options["enable_cuda_graph"] == "1"
        graph = options.get_run_config_entry("gpu_graph_id") if records else "-1"
        if graph != "-1":
            self.replay(graph, binding)

    def replay(self, graph, binding):
        values = [*binding.inputs.values(), *binding.outputs.values()]
        assert None not in values, "a graph needs outputs that stay where they are"
        if graph in self.graphs:
            assert all(a is b for a, b in zip(self.graphs[graph], values, strict=True))
            replays.append(graph)
        self.graphs[graph] = values
