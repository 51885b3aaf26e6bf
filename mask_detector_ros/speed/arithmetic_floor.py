# SPDX-License-Identifier: Apache-2.0
"""The arithmetic floor: the time of the multiply-adds alone at the machine's peak rate.

It counts the multiply-adds of MTCNN's layers (Zhang et al., 2016, as in the public weights): P-Net
over every level of the frame's pyramid, R-Net and O-Net over their actual crops. The peak rate is
that of a large float32 matrix product (NumPy's BLAS), measured with the same number of threads
between the frames of the same run. No direct float32 implementation of these layers can be faster;
resizing, activations and suppression add to it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.imaging.image_pyramid import ImagePyramid
from mask_detector_ros.inference import create_session
from mask_detector_ros.models import find_detector
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.pnet_pyramid import Shapes, pyramid_shapes
from mask_detector_ros.mtcnn.three_stage_cascade import Cascade

MATRIX_SIDE = 1024
"""Side of the matrices that measure the peak: 2**30 multiply-adds."""

MATRIX_MACS = MATRIX_SIDE**3


@dataclass(frozen=True)
class Layer:
    """A layer whose multiply-adds are counted: a convolution without padding, or a fully connected
    layer (`kernel` covers the whole map).

    Attributes:
        inputs, outputs: number of channels.
        kernel: side of the kernel; 0 for the whole map.
        pool: side of the max-pooling that follows, stride 2, ceil mode; 0 for none.
    """

    inputs: int
    outputs: int
    kernel: int
    pool: int = 0


PNET = (Layer(3, 10, 3, pool=2), Layer(10, 16, 3), Layer(16, 32, 3), Layer(32, 2 + 4, 1))
RNET = (
    *(Layer(3, 28, 3, pool=3), Layer(28, 48, 3, pool=3), Layer(48, 64, 2)),
    *(Layer(64, 128, 0), Layer(128, 2 + 4, 1)),
)
ONET = (
    *(Layer(3, 32, 3, pool=3), Layer(32, 64, 3, pool=3), Layer(64, 64, 3, pool=2)),
    *(Layer(64, 128, 2), Layer(128, 256, 0), Layer(256, 2 + 4 + 10, 1)),
)


def network_macs(layers: tuple[Layer, ...], height: int, width: int) -> int:
    """Arithmetic of a network: count the multiply-adds over one image of this size."""
    total = 0
    for layer in layers:
        down, across = (layer.kernel, layer.kernel) if layer.kernel else (height, width)
        height, width = height - down + 1, width - across + 1
        total += height * width * down * across * layer.inputs * layer.outputs
        if layer.pool:
            height, width = (-(-(side - layer.pool) // 2) + 1 for side in (height, width))
    return total


def cascade_macs(shapes: Shapes, rnet_crops: int, onet_crops: int) -> dict[str, int]:
    """Arithmetic of the cascade: count the multiply-adds of each stage.

    Args:
        shapes: (height, width) of each level of the pyramid.
        rnet_crops, onet_crops: number of crops of each network.
    """
    return {
        "pnet": sum(network_macs(PNET, *shape) for shape in shapes),
        "rnet": rnet_crops * network_macs(RNET, 24, 24),
        "onet": onet_crops * network_macs(ONET, 48, 48),
    }


class FloorCounter:
    """Counts the multiply-adds of the public cascade, for the arithmetic floor."""

    def __init__(self, factor: float, thresholds: tuple[float, float, float]) -> None:
        self._factor, self._thresholds = factor, thresholds
        stages = find_detector("mtcnn").items()
        self._cascade = Cascade(**{name: create_session(model, name) for name, model in stages})

    def macs(self, image: NDArray[np.uint8], min_face_size: int) -> int:
        """Count the multiply-adds of all stages for a (H, W, 3) BGR image."""
        settings = DetectionSettings(min_face_size, self._factor, self._thresholds, 0)
        pyramid = ImagePyramid(image)
        proposed = self._cascade.propose(pyramid, settings, self._thresholds[0])
        refined = self._cascade.refine(pyramid, proposed, self._thresholds[1])
        height, width = image.shape[:2]
        shapes = pyramid_shapes(height, width, min_face_size, self._factor)
        return sum(cascade_macs(shapes, len(proposed), len(refined)).values())
