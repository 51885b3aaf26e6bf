# SPDX-License-Identifier: Apache-2.0
"""The thread that owns a GPU's CUDA objects frees them, too."""

import numpy as np
import pytest

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference.tensorrt import cuda


def test_what_a_failed_call_leaves_is_freed_in_the_gpus_thread(gpu):
    from pycuda import driver

    thread = cuda.cuda_thread(0)

    def fail():
        buffer = cuda.Buffer(driver)
        buffer.reserve(8)
        try:
            buffer.view((9,), np.dtype(np.uint8))
        except ValueError as error:
            raise ModelError("too small") from error

    with pytest.raises(ModelError, match="too small"):
        thread.call(fail)
    assert driver.allocations == {}
