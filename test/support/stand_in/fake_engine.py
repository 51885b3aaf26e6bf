# SPDX-License-Identifier: Apache-2.0
"""Runs a network for the stand-in of TensorRT: ONNX Runtime on the stand-in's memory."""

import ctypes

import numpy as np
import onnxruntime as ort
from fake_gpu import settings
from pycuda import driver

MAGIC = b"fake plan\n"


def open_network(model):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(bytes(model), options, providers=["CPUExecutionProvider"])


def shape_of(tensor):
    return tuple(size if isinstance(size, int) else -1 for size in tensor.shape)


def is_dynamic(tensor):
    return -1 in shape_of(tensor)


def dtype_of(tensor):
    names = {"float": "float32", "float16": "float16", "uint8": "uint8", "int64": "int64"}
    return np.dtype(names[tensor.type[7:-1]])


def view_memory(address, shape, tensor):
    """An array over GPU memory, which here is the host's."""
    dtype = dtype_of(tensor)
    size = dtype.itemsize * int(np.prod(shape))
    driver.check_memory(address, size)
    buffer = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(buffer, dtype).reshape(shape)


def run_network(engine, shapes, feeds=None):
    session = engine._session
    if feeds is None:
        feeds = {t.name: np.zeros(shapes[t.name], dtype_of(t)) for t in session.get_inputs()}
    names = [t.name for t in session.get_outputs()]
    results = dict(zip(names, session.run(names, feeds), strict=True))
    fault = settings()["run_fault"] or ""
    if fault.startswith("half") and not engine._header["half"]:
        return results
    if "wrong" in fault:
        return {name: values + np.ones((), values.dtype) for name, values in results.items()}
    if "nan" in fault:
        return {name: np.full_like(values, np.nan) for name, values in results.items()}
    return results
