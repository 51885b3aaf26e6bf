# SPDX-License-Identifier: Apache-2.0
"""A small moving scene of faces with and without masks, with exact ground truth.

It replaces a camera in the demo and provides the ground truth in tests. A frame index always
gives the same frame, so two processes agree on the truth without communicating.

The faces come from two public-domain portraits in installed packages (`portraits.py`). Masks
are drawn onto them (`masks.py`), and people walk on smooth paths (`people.py`) through a drawn
hall (`hall.py`).
"""

from mask_detector_ros.sources.sample_scene.people import LABEL_NAMES, RATE_HZ
from mask_detector_ros.sources.sample_scene.scene import SampleScene

__all__ = ["LABEL_NAMES", "RATE_HZ", "SampleScene"]
