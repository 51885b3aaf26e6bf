# SPDX-License-Identifier: Apache-2.0
"""Group known faces by what may make them harder: yaw of the head and tone of the skin.

Both are estimated from five landmarks that one fixed network places in the known box, so that
every detector is measured on the same groups.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.imaging.boxes import FloatArray
from mask_detector_ros.imaging.crops import cut_squares, square_slices
from mask_detector_ros.imaging.image_pyramid import Image, ImagePyramid
from mask_detector_ros.inference import create_session
from mask_detector_ros.models import find_detector
from mask_detector_ros.mtcnn.three_stage_cascade import ONET_SIDE

LEFT_EYE, RIGHT_EYE, NOSE = 0, 1, 2

YAWS = {
    "frontal": (0.0, 0.2),
    "half turned": (0.2, 0.5),
    "turned far": (0.5, np.inf),
}
"""Ranges of `yaw_ratio`: up to about 15 degrees, up to about 40, and beyond up to a profile."""

TONES = {
    "skin lightest": (41.0, np.inf),
    "skin medium": (10.0, 41.0),
    "skin darkest": (-np.inf, 10.0),
}
"""Ranges of the individual typology angle in degrees: very light and light; intermediate and tan;
brown and dark, in the classes of Chardon, Cretois and Hourseau, "Skin colour typology and
suntanning pathways", 1991. Without a colour chart the angle also depends on light, white balance
and make-up: it is valid for groups of faces, not for a single face."""

MIN_SKIN_PIXELS = 9


class LandmarkNetwork:
    """Places five landmarks in known boxes with O-Net of the cascade trained for masks."""

    def __init__(self, threads: int = 0) -> None:
        onet = find_detector("mtcnn_masked")["onet"]
        self._session = create_session(onet, "onet", "onnxruntime", threads)

    def __call__(self, image: Image | ImagePyramid, boxes: FloatArray) -> FloatArray:
        """(N, 5, 2) landmarks in image pixels, for (N, 4) boxes."""
        squares = square_slices(boxes, 0.0, ONET_SIDE)
        crops = cut_squares(ImagePyramid.of(image), squares, ONET_SIDE)
        shares = self._session.run(images=np.moveaxis(crops, 3, 1))["landmarks"]
        corner, side = squares[:, None, :2], (squares[:, 2:] - squares[:, :2])[:, None]
        # The network outputs five x, then five y, as fractions of the crop.
        points: FloatArray = shares.reshape(-1, 2, 5).transpose(0, 2, 1)
        return (corner + side * points).astype(np.float32)


def yaw_ratio(landmarks: FloatArray) -> FloatArray:
    """(N,) yaw measure to group faces by: offset of the nose from the midpoint of the eyes, along
    the line of the eyes, in eye distances: 0 for a frontal face, above 0.5 where the nose lies
    beyond an eye.

    Args:
        landmarks: (N, 5, 2) in pixels, in the order of `Faces.landmarks`.
    """
    left, right, nose = (landmarks[:, point] for point in (LEFT_EYE, RIGHT_EYE, NOSE))
    eyes = right - left
    length = np.maximum(np.linalg.norm(eyes, axis=1), 1e-3)
    beside = np.einsum("nc,nc->n", nose - (left + right) / 2, eyes)
    ratio: FloatArray = np.abs(beside / length**2).astype(np.float32)
    return ratio


def typology_angles(image: Image, landmarks: FloatArray) -> NDArray[np.float32]:
    """(N,) skin tone measure to group faces by: the individual typology angle, arctan((L* - 50) /
    b*), in degrees, of the skin between and above the eyes, which a mask leaves bare; NaN where it
    is too small or out of view.

    Args:
        image: (H, W, 3) uint8 BGR.
        landmarks: (N, 5, 2) in pixels of the image.
    """
    angles = np.full(len(landmarks), np.nan, np.float32)
    for index, points in enumerate(landmarks.astype(np.float64)):
        eyes = points[RIGHT_EYE] - points[LEFT_EYE]
        middle = (points[LEFT_EYE] + points[RIGHT_EYE]) / 2
        # Up from the eyes in the head's frame; half an eye distance reaches the lower forehead.
        centre = middle + 0.4 * np.array([eyes[1], -eyes[0]])
        half = 0.25 * np.linalg.norm(eyes)
        left, top = np.maximum(np.rint(centre - half), 0).astype(int)
        right, bottom = np.maximum(np.rint(centre + half), 0).astype(int)
        patch = image[top:bottom, left:right]
        if patch.shape[0] * patch.shape[1] < MIN_SKIN_PIXELS:
            continue
        lab = cv2.cvtColor(patch.astype(np.float32) / 255, cv2.COLOR_BGR2LAB).reshape(-1, 3)
        lightness, _, yellow = np.median(lab, axis=0)
        angles[index] = np.degrees(np.arctan2(lightness - 50, max(float(yellow), 1e-3)))
    return angles
