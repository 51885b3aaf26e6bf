# SPDX-License-Identifier: Apache-2.0
"""The peers' detectors behind the benchmark's interface."""

import numpy as np
from constant_network import write_constants

from mask_detector_ros.speed.subjects import detectors


def test_yunet_gives_the_boxes_of_its_cells_in_pixels_of_the_frame(tmp_path):
    outputs = {}
    for stride, cells in {8: 64, 16: 16, 32: 4}.items():  # an input of 64x64
        scores, moves = np.zeros((1, cells, 1), np.float32), np.zeros((1, cells, 4), np.float32)
        if stride == 16:
            scores[0, 1], moves[0, 1] = 1, [0.5, 0.25, np.log(2), 0]
        outputs |= {f"cls_{stride}": scores, f"obj_{stride}": scores, f"bbox_{stride}": moves}
    path = write_constants(tmp_path / "yunet.onnx", ("n", 3, "h", "w"), **outputs)
    detect = detectors.yunet(20, 1, str(path))
    boxes = detect(np.zeros((50, 60, 3), np.uint8))
    np.testing.assert_allclose(boxes, [[8, -4, 40, 12]], atol=1e-4)
