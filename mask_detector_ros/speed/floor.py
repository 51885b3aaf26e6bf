"""The arithmetic floor: the time that the multiplications alone would take at the machine's peak.

Counted are the multiply-adds of MTCNN's layers (Zhang et al., 2016, as in the public weights): of
P-Net over every level of the frame's pyramid, and of R-Net and O-Net over the crops that they
really were given. The peak is that of a large float32 matrix product (NumPy's BLAS), on as many
threads and between the frames of the same run. Nothing that computes these layers directly and in
float32 can be faster; resizing, activations and suppression come on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.base import Array, Session
from mask_detector_ros.models import find_detector
from mask_detector_ros.mtcnn.cascade import Cascade
from mask_detector_ros.mtcnn.pyramid import Shapes, pyramid_shapes
from mask_detector_ros.mtcnn.settings import DetectionSettings

MATRIX_SIDE = 1024
"""Of the product that shows the peak: 2**30 multiply-adds."""

MATRIX_MACS = MATRIX_SIDE**3


@dataclass(frozen=True)
class Layer:
    """A convolution without padding, or (`kernel` the whole map) a fully connected layer.

    Attributes:
        inputs, outputs: channels.
        kernel: its side; 0 for the whole map.
        pool: side of the maximum that follows, in steps of 2 and rounded up; 0 for none.
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
    """Multiply-adds of a network over one image of this size."""
    total = 0
    for layer in layers:
        down, across = (layer.kernel, layer.kernel) if layer.kernel else (height, width)
        height, width = height - down + 1, width - across + 1
        total += height * width * down * across * layer.inputs * layer.outputs
        if layer.pool:
            height, width = (-(-(side - layer.pool) // 2) + 1 for side in (height, width))
    return total


def cascade_macs(shapes: Shapes, rnet_crops: int, onet_crops: int) -> dict[str, int]:
    """Multiply-adds of each stage.

    Args:
        shapes: (height, width) of each level of the pyramid.
        rnet_crops, onet_crops: how many squares each was shown.
    """
    return {
        "pnet": sum(network_macs(PNET, *shape) for shape in shapes),
        "rnet": rnet_crops * network_macs(RNET, 24, 24),
        "onet": onet_crops * network_macs(ONET, 48, 48),
    }


class CountingSession(Session):
    """A session that counts the images that it is given.

    Attributes:
        images: how many so far.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.name, self.backend, self.device = session.name, session.backend, session.device
        self.inputs, self.outputs = session.inputs, session.outputs
        self.metadata = session.metadata
        self.images = 0

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        self.images += len(next(iter(arrays.values())))
        return self._session.run(**arrays)


class FloorCounter:
    """Counts the multiply-adds of the public cascade over frames."""

    def __init__(self, factor: float, thresholds: tuple[float, float, float]) -> None:
        self._factor, self._thresholds = factor, thresholds
        self._stages = {
            name: CountingSession(create_session(model, name))
            for name, model in find_detector("mtcnn").items()
        }
        self._cascade = Cascade(**self._stages)

    def macs(self, image: NDArray[np.uint8], min_face_size: int) -> int:
        """Multiply-adds of all stages for a (H, W, 3) BGR image."""
        before = [self._stages[name].images for name in ("rnet", "onet")]
        self._cascade(image, DetectionSettings(min_face_size, self._factor, self._thresholds, 0))
        rnet, onet = (
            self._stages[name].images - count
            for name, count in zip(("rnet", "onet"), before, strict=True)
        )
        height, width = image.shape[:2]
        shapes = pyramid_shapes(height, width, min_face_size, self._factor)
        return sum(cascade_macs(shapes, rnet, onet).values())
