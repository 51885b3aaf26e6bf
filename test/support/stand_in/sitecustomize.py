# SPDX-License-Identifier: Apache-2.0
"""Processes that a test starts also use the stand-in of the driver."""

import os

if "FAKE_GPU" in os.environ:
    from pycuda.driver import FakeDriver

    from mask_detector_ros.inference import gpus

    gpus.load_libcuda = FakeDriver
