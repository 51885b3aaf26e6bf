# SPDX-License-Identifier: Apache-2.0
"""3D positions of faces: on a ray through the camera, at a distance from depth or face size."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import ImageError
from mask_detector_ros.faces import Faces

Array = NDArray[np.float64]

FACE_SIZE = 0.18
"""Face size of an adult in metres: square root of width times height of the box (0.15 by 0.21)."""

FACE_SIZE_SPREAD = 0.25
"""Relative standard deviation of the face size: children, masks, and turned heads."""

LATERAL_SPREAD = 0.05
"""Standard deviation of a box centre, in face sizes."""

MIN_DEPTH_SPREAD = 0.01
"""Minimum standard deviation of depth in metres: no depth camera is better on a face."""

CENTRAL = 0.25
"""Fraction of a box ignored on each side when reading depth, since it shows the background."""

MIN_VALID = 0.1
"""Minimum fraction of these pixels with a depth."""

_UNITS = {"16UC1": ("u2", 1e-3), "32FC1": ("f4", 1.0)}
"""Data type and metres per unit of each depth encoding (REP 118)."""


@dataclass(frozen=True)
class Positions:
    """Positions of N faces in the camera's optical frame: x right, y down, z ahead, metres.

    Attributes:
        centres: (N, 3).
        covariances: (N, 3, 3). Large along the ray if the distance comes from the face size.
        sizes: (N, 3) width, height, and the width again as depth.
    """

    centres: Array
    covariances: Array
    sizes: Array


class CameraModel:
    """Rays through an image's pixels, from fields as in `sensor_msgs/CameraInfo`.

    Args:
        info: the calibration, including region of interest and binning.
        width, height: size of the image, which may be smaller than the calibrated one.
        is_rectified: whether the image is rectified, so that the projection matrix P applies.

    Raises:
        ImageError: the camera is not calibrated, or the calibration is not finite.
    """

    def __init__(self, info: Any, width: int, height: int, is_rectified: bool = False) -> None:
        k = np.asarray(info.k, np.float64).reshape(3, 3)
        p = np.asarray(info.p, np.float64).reshape(3, 4)[:, :3]
        self._matrix = p if is_rectified and p[0, 0] > 0 else k
        if not self._matrix[0, 0] > 0 or not self._matrix[1, 1] > 0:
            raise ImageError("camera_info holds no calibration: its focal length is 0")
        self._distortion = None if is_rectified else np.asarray(info.d, np.float64)
        if not np.isfinite(self._matrix).all() or (
            self._distortion is not None and not np.isfinite(self._distortion).all()
        ):
            raise ImageError("camera_info has numbers that are not finite: calibrate the camera")
        self._model = info.distortion_model
        roi = info.roi
        used = (roi.width or info.width or width, roi.height or info.height or height)
        self._scale = np.array(used) / (width, height)
        self._offset = np.array([roi.x_offset, roi.y_offset])

    def focal_length(self) -> float:
        """The camera's focal length in image pixels: the geometric mean over both axes."""
        fx, fy = self._matrix[[0, 1], [0, 1]] / self._scale
        return float(np.sqrt(fx * fy))

    def rays(self, points: Array) -> Array:
        """(N, 3) rays through (N, 2) pixels of the camera, with z of 1.

        Raises:
            ImageError: the number of coefficients does not fit the distortion model.
        """
        pixels = (points * self._scale + self._offset).reshape(-1, 1, 2)
        if not len(pixels):
            return np.empty((0, 3))
        distorted = self._distortion is not None and self._distortion.any()
        is_fisheye = distorted and self._model in ("equidistant", "fisheye")
        undistort: Any = cv2.fisheye.undistortPoints if is_fisheye else cv2.undistortPoints
        try:
            flat = undistort(pixels, self._matrix, self._distortion if distorted else None)
        except cv2.error as error:
            raise ImageError(
                f"the distortion coefficients in camera_info do not fit {self._model!r}: calibrate"
                " the camera"
            ) from error
        return np.column_stack([flat.reshape(-1, 2), np.ones(len(pixels))])


def locate(
    faces: Faces, camera: CameraModel, size: tuple[int, int], depth: Any = None
) -> Positions:
    """Compute the 3D positions of faces.

    Args:
        depth: a depth message registered to the image, of any resolution, or None. Faces without
            depth are placed by their size.

    Raises:
        ImageError: the depth encoding is not one of REP 118, the data has the wrong length, or the
            calibration gives no finite positions.
    """
    with np.errstate(all="ignore"):
        positions = _locate(faces, camera, size, depth)
    if not all(np.isfinite(a).all() for a in vars(positions).values()):
        raise ImageError("camera_info gives no finite positions: calibrate the camera")
    return positions


def _locate(faces: Faces, camera: CameraModel, size: tuple[int, int], depth: Any) -> Positions:
    boxes = faces.boxes.astype(np.float64)
    rays = camera.rays((boxes[:, :2] + boxes[:, 2:]) / 2)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    focal = camera.focal_length()
    distances = focal * FACE_SIZE / np.sqrt(sides.prod(axis=1))
    spreads = FACE_SIZE_SPREAD * distances
    if depth is not None:
        view, unit = _depth_view(depth)
        scale = np.tile(np.array([depth.width, depth.height]) / size, 2)
        for i, box in enumerate(boxes * scale):
            measured = _measure(view, unit, box)
            if measured is not None:
                distances[i], spreads[i] = measured
    units = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    along = np.einsum("ni,nj->nij", units, units)
    across = np.eye(3) - along
    lengths = np.linalg.norm(rays, axis=1)
    lateral = LATERAL_SPREAD * np.sqrt(sides.prod(axis=1)) * distances / focal
    covariances = (
        along * ((spreads * lengths) ** 2)[:, None, None] + across * (lateral**2)[:, None, None]
    )
    extents = sides * (distances / focal)[:, None]
    return Positions(
        rays * distances[:, None], covariances, np.column_stack([extents, extents[:, 0]])
    )


def _depth_view(message: Any) -> tuple[NDArray[Any], float]:
    """A view of a depth image's (H, W) values, and their unit in metres."""
    if message.encoding not in _UNITS:
        raise ImageError(f"depth must be {' or '.join(_UNITS)}, got {message.encoding!r}")
    kind, unit = _UNITS[message.encoding]
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    height, width, step = message.height, message.width, message.step
    if step < width * dtype.itemsize or len(message.data) < step * height:
        raise ImageError(
            f"depth of {width}x{height} has {len(message.data)} bytes with step {step}; the"
            " publisher must fill step and data to match"
        )
    shape, strides = (height, width), (step, dtype.itemsize)
    return np.ndarray(shape, dtype, buffer=message.data, strides=strides), unit


def _measure(view: NDArray[Any], unit: float, box: Array) -> tuple[float, float] | None:
    """Depth along the optical axis and its spread in the middle of a box; None without depth."""
    if not np.isfinite(box).all():
        return None
    inset = CENTRAL * (box[2:] - box[:2])
    limit = (view.shape[1], view.shape[0])
    x1, y1 = np.clip(np.floor(box[:2] + inset), 0, limit).astype(int)
    x2, y2 = np.clip(np.ceil(box[2:] - inset), 0, limit).astype(int)
    patch = view[y1:y2, x1:x2].astype(np.float64) * unit
    valid = patch[np.isfinite(patch) & (patch > 0)]
    if valid.size == 0 or valid.size < MIN_VALID * patch.size:
        return None
    distance = float(np.median(valid))
    # Median absolute deviation, scaled to the standard deviation of a normal distribution.
    spread = 1.4826 * float(np.median(np.abs(valid - distance)))
    return distance, max(spread, MIN_DEPTH_SPREAD)
