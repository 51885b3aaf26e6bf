# SPDX-License-Identifier: Apache-2.0
"""Draw the images of README and docs from the sample scene: `python docs/make_images.py`."""

from pathlib import Path

import cv2
import numpy as np

from mask_detector_ros import MaskDetector
from mask_detector_ros.imaging.annotate import annotate
from mask_detector_ros.sources.sample_scene import RATE_HZ, SampleScene

SHOWN = 60
"""Index of the frame, after four seconds of tracking."""


def write(name: str, image: np.ndarray) -> None:
    path = Path(__file__).parent / "images" / f"{name}.jpg"
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 85])


scene = SampleScene(640, 480)
stream = MaskDetector.load().stream()
for index in range(SHOWN + 1):
    image, _ = scene.render(index)
    faces = stream(image, index / RATE_HZ)
write("demo", annotate(image, faces))
hidden = [annotate(image, faces, privacy)[120:400, 40:360] for privacy in ("blur", "pixelate")]
write("privacy", np.hstack(hidden))
