# SPDX-License-Identifier: Apache-2.0
"""The detector node with a detector that misbehaves at images of certain widths.

The file that the environment variable RELEASE names lets a frame go on that is stuck.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.ros.mask_detector_node import main

STUCK, FAILING, OUT_OF_MEMORY = 701, 703, 705

original = MaskDetector.__call__


def misbehave(self, image, near=None):
    width = image.shape[1]
    while width == STUCK and not Path(os.environ["RELEASE"]).exists():
        time.sleep(0.02)
    if width == FAILING:
        raise RuntimeError("the backend broke down")
    if width == OUT_OF_MEMORY:
        raise MemoryError
    return original(self, image, near)


if __name__ == "__main__":
    MaskDetector.__call__ = misbehave
    sys.exit(main())
