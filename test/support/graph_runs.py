# SPDX-License-Identifier: Apache-2.0
"""Run graphs of `GraphBuilder` in tests."""

import numpy as np
import onnxruntime as ort
from onnx import TensorProto

ROUNDED = 2
"""Grey levels. The library rounds each level of the pyramid to bytes, the graph none."""

SCALED = [
    ((480, 640), (384, 512)),  # products of five pixels to four
    ((360, 500), (120, 500)),  # one side only
    ((480, 512), (464, 487)),  # no small block of pixels
    ((96, 80), (120, 100)),  # larger
]
"""Size of an image, and the size that it is scaled to."""


def run(g, feeds, outputs):
    """Run a graph on named arrays; outputs is the values by name with their shapes."""
    kinds = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.float32): TensorProto.FLOAT}
    inputs = {name: (kinds[array.dtype], array.shape) for name, array in feeds.items()}
    model = g.finish(inputs, outputs, 17, 8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    content = model.SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(list(outputs), feeds), strict=True))


def random_boxes(chance, count, width, height):
    centres = chance.uniform(-20, [width + 20, height + 20], (count, 2))
    sides = np.exp(chance.uniform(np.log(8), np.log(height), (count, 2)))
    return np.hstack([centres - sides / 2, centres + sides / 2]).astype(np.float32)


def assert_similar(found, expected):
    difference = np.abs(found - expected.astype(np.float32))
    assert difference.max() <= ROUNDED
    assert difference.mean() < 1
