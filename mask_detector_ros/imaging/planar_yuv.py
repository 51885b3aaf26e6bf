# SPDX-License-Identifier: Apache-2.0
"""Planar YUV images, with all luma before the chroma: nv12, nv21, nv24, I420 and yv12."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ImageError

_CONVERSIONS = {
    "nv12": cv2.COLOR_YUV2BGR_NV12,
    "nv21": cv2.COLOR_YUV2BGR_NV21,
    "I420": cv2.COLOR_YUV2BGR_I420,
    "i420": cv2.COLOR_YUV2BGR_I420,
    "yv12": cv2.COLOR_YUV2BGR_YV12,
    "nv24": None,
}
"""The cv2.cvtColor code of each encoding; OpenCV has none for nv24."""

PLANAR_ENCODINGS = tuple(_CONVERSIONS)

# ITU-R BT.601, limited range, as OpenCV converts the other YUV encodings.
_YUV_TO_BGR = np.array([[1.164, 2.018, 0.0], [1.164, -0.391, -0.813], [1.164, 0.0, 1.596]])
_YUV_OFFSET = np.array([16.0, 128.0, 128.0])
_YUV_TO_BGR_WITH_OFFSET = np.column_stack([_YUV_TO_BGR, -_YUV_TO_BGR @ _YUV_OFFSET])


def decode_planar(
    data: Any, width: int, height: int, step: int, encoding: str
) -> NDArray[np.uint8]:
    """The pixels of a planar YUV image, as (H, W, 3) uint8 BGR.

    Args:
        data: its bytes. nv12 and nv21 hold H rows of luma, then H/2 rows of chroma in pairs (U, V
            or V, U); nv24 holds chroma for each pixel; I420 holds a plane of U and one of V, yv12
            one of V and one of U.
        step: bytes per row of luma. Without padding any `step` is accepted: some drivers count the
            chroma too, by various rules.
        encoding: one of `PLANAR_ENCODINGS`.

    Raises:
        ImageError: a side is odd although pixels share chroma, or the length does not fit.
    """
    code = _CONVERSIONS[encoding]
    if code is not None and (width % 2 or height % 2):
        raise ImageError(
            f"a {encoding} image needs an even width and height, got {width}x{height}: four "
            "pixels share chroma"
        )
    has_planes = code in (cv2.COLOR_YUV2BGR_I420, cv2.COLOR_YUV2BGR_YV12)
    rows = 3 * height if code is None else 3 * height // 2
    pixels = np.frombuffer(data, np.uint8)
    pitch = width if pixels.size == width * rows else step
    if pixels.size != pitch * rows or pitch < width or (has_planes and pitch % 2):
        raise ImageError(
            f"the image has {pixels.size} bytes, but {width}x{height} pixels of {encoding} need "
            f"{width * rows}, or {rows} rows of step {step} with padding; the publisher must fill "
            "step and data to match"
        )
    luma = pixels[: pitch * height].reshape(height, pitch)[:, :width]
    colour = pixels[pitch * height :]
    if code is None:
        u, v = np.moveaxis(colour.reshape(height, pitch, 2)[:, :width], 2, 0)
        yuv = np.dstack([np.maximum(luma, 16), u, v])
        return np.asarray(cv2.transform(yuv, _YUV_TO_BGR_WITH_OFFSET), np.uint8)
    if has_planes:
        colour = colour.reshape(height, pitch // 2)[:, : width // 2]
    else:
        colour = colour.reshape(height // 2, pitch)[:, :width]
    planes = np.vstack([luma, colour.reshape(-1, width)])
    return np.asarray(cv2.cvtColor(planes, code), np.uint8)
