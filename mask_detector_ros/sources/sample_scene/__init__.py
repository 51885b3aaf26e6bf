"""A small moving scene with faces, with and without masks, whose ground truth is known.

It serves where there is no camera: as the source of the demo and as the judge in tests.
The frame of an index is always the same, so two processes can agree on the truth
without talking to each other.

The pixels come from two public-domain portraits that installed packages carry
(`portraits.py`), the masks are drawn onto them (`masks.py`), people walk on smooth paths
(`people.py`) through a drawn hall (`hall.py`).
"""

from mask_detector_ros.sources.sample_scene.people import LABEL_NAMES, RATE_HZ
from mask_detector_ros.sources.sample_scene.scene import SampleScene

__all__ = ["LABEL_NAMES", "RATE_HZ", "SampleScene"]
