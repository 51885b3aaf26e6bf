# SPDX-License-Identifier: Apache-2.0
"""An engine in a cache, and sessions that use one."""

import numpy as np
from gpu_stand_in import network

from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.options import EngineOptions
from mask_detector_ros.inference.tensorrt.cache import EngineKey

KEY = EngineKey(
    model="my model.onnx",
    sha256="ab" * 32,
    flavour="tensorrt",
    version="10.3.0",
    gpu="Orin",
    capability="8.7",
    precision="fp16",
    profile={"x": ((1, 3), (8, 3), (128, 3))},
)
PLAN = b"a plan\nof several lines\0"


def open_session(folder, precision="fp32", model=None):
    options = EngineOptions(precision=precision, engine_cache_dir=str(folder))
    session = create_session(model or network(), "scale", "tensorrt", 1, options)
    x = np.ones((3, 3), np.float32)
    np.testing.assert_allclose(session.run(x=x)["y"], x * 0.25 / 255 + np.arange(3), rtol=1e-6)
    return session
