# SPDX-License-Identifier: Apache-2.0
"""`python -m mask_detector_ros.cli`, for where the `mask-detector` script is not installed."""

import sys

from mask_detector_ros.cli import main

sys.exit(main())
