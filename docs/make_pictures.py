"""Make the pictures of the README from the sample scene: `python docs/make_pictures.py`."""

from pathlib import Path

import cv2

from mask_detector_ros import MaskDetector
from mask_detector_ros.annotate import annotate
from mask_detector_ros.sample_scene import SampleScene

image, _ = SampleScene(640, 480).render(60)
picture = annotate(image, MaskDetector.load()(image))
cv2.imwrite(str(Path(__file__).parent / "demo.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
