# SPDX-License-Identifier: Apache-2.0
"""scikit-image's astronaut, measured by hand, and rows of her head."""

import numpy as np

from mask_detector_ros.imaging.boxes import intersection_over_union
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings

SETTINGS = DetectionSettings(
    min_face_size=20, pyramid_factor=0.709, detection_thresholds=(0.6, 0.7, 0.7), max_faces=0
)

# From hairline to chin, from cheek to cheek.
FACE = np.float32([[177, 66, 273, 179]])


def overlap(faces, boxes):
    """Intersection over union of each face with the box at the same index."""
    return np.diag(intersection_over_union(faces.boxes, np.float32(boxes).reshape(-1, 4)))


def head(astronaut):
    """The 256x256 pixels around the head, from (96, 20) on."""
    return astronaut[20:276, 96:352]


def heads(astronaut, count):
    """`count` heads side by side, every other one mirrored."""
    return np.hstack([head(astronaut)[:, :: -1 if i % 2 else 1] for i in range(count)])
